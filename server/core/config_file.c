/* libyaml's document tree, because it knows the line of each key, and because the part of
 * the file that declares commands is not ours: it is passed over here and read by
 * workers/declaration.c, which passes over the settings. Rejected: libcyaml, which reads
 * into structures by a schema; for a flat list of settings the schema is longer than this
 * and its messages know the line only nearly. */
#include "server/core/cleanup.h"
#include "server/core/config_table.h"
#include "server/core/nearest.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

static const char *const keys[] = {
#define SETTING(field, type, flag, env, key, def, least, most, help) key,
#include "server/core/config.def"
#undef SETTING
    "commands", "endpoints", NULL};

static const struct setting *setting_of_key(const char *key)
{
    const struct setting *s = config_settings;

    while (s->flag != NULL && strcmp(s->key, key) != 0)
        s++;
    return s->flag != NULL ? s : NULL;
}

static enum err unknown_key(const char *file, const yaml_node_t *key, const char *name,
                            struct buf *why)
{
    const char *meant = nearest(name, keys);

    buf_addf(why, "%s:%zu: unknown key %s; ", file, key->start_mark.line + 1, name);
    if (meant != NULL)
        buf_addf(why, "did you mean %s?", meant);
    else
        buf_adds(why, "the keys are commands and the settings, which belay serve --help "
                      "lists");
    return ERR_CONFIG;
}

static const char *text_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* "key:", "key: ~" and "key: null" leave the default. */
static bool is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text_of(node)[0] == '\0' || strcmp(text_of(node), "~") == 0 ||
            strcmp(text_of(node), "null") == 0);
}

/* A mapping as "a=1,b=2". */
static bool map_text(yaml_document_t *doc, const yaml_node_t *value, struct buf *out)
{
    const yaml_node_pair_t *p = value->data.mapping.pairs.start;

    for (; p < value->data.mapping.pairs.top; p++) {
        const yaml_node_t *name = yaml_document_get_node(doc, p->key);
        const yaml_node_t *number = yaml_document_get_node(doc, p->value);
        if (name->type != YAML_SCALAR_NODE || number->type != YAML_SCALAR_NODE)
            return false;
        buf_addf(out, "%s%s=%s", out->len > 0 ? "," : "", text_of(name), text_of(number));
    }
    return true;
}

/* The value as one text; a list, where a TEXT is wanted, as "a,b". */
static bool value_text(yaml_document_t *doc, const struct setting *s,
                       const yaml_node_t *value, struct buf *out)
{
    if (value->type == YAML_SCALAR_NODE) {
        buf_add(out, text_of(value), value->data.scalar.length);
        return strlen(text_of(value)) == value->data.scalar.length;
    }
    if (value->type == YAML_MAPPING_NODE && s->type == SETTING_MAP)
        return map_text(doc, value, out);
    if (value->type != YAML_SEQUENCE_NODE ||
        (s->type != SETTING_TEXT && !setting_is_list(s)))
        return false;
    for (const yaml_node_item_t *item = value->data.sequence.items.start;
         item < value->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(doc, *item);
        if (node->type != YAML_SCALAR_NODE)
            return false;
        buf_addf(out, "%s%s", out->len > 0 ? "," : "", text_of(node));
    }
    return true;
}

static enum err take_pair(struct config *c, yaml_document_t *doc, const yaml_node_t *key,
                          const yaml_node_t *value, struct buf *why)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT, where = BUF_INIT;
    const char *name = key->type == YAML_SCALAR_NODE ? text_of(key) : "(not a word)";
    const struct setting *s = setting_of_key(name);

    if (strcmp(name, "commands") == 0 || strcmp(name, "endpoints") == 0 ||
        (s != NULL && is_null(value)))
        return ERR_OK;
    if (s == NULL)
        return unknown_key(c->file, key, name, why);
    buf_addf(&where, "%s:%zu: %s", c->file, key->start_mark.line + 1, name);
    if (!value_text(doc, s, value, &text)) {
        buf_addf(why, "%s: it should be one value", where.text);
        return ERR_CONFIG;
    }
    return text.failed || where.failed ? ERR_NO_MEMORY
                                       : config_set(c, s, text.text, where.text, why);
}

/* True when a pair before `pair` has the same key. */
static bool is_repeated(yaml_document_t *doc, const yaml_node_t *root,
                        const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(doc, pair->key);

    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *other = yaml_document_get_node(doc, p->key);
        if (key->type == YAML_SCALAR_NODE && other->type == YAML_SCALAR_NODE &&
            strcmp(text_of(key), text_of(other)) == 0)
            return true;
    }
    return false;
}

/* Twice the same key is an error: YAML leaves open which one holds. */
static enum err take_document(struct config *c, yaml_document_t *doc, struct buf *why)
{
    const yaml_node_t *root = yaml_document_get_root_node(doc);
    enum err e = ERR_OK;

    if (root == NULL || is_null(root))
        return ERR_OK;
    if (root->type != YAML_MAPPING_NODE) {
        buf_addf(why, "%s:%zu: the file should be lines of the form \"key: value\"",
                 c->file, root->start_mark.line + 1);
        return ERR_CONFIG;
    }
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top && e == ERR_OK; pair++) {
        const yaml_node_t *key = yaml_document_get_node(doc, pair->key);
        if (is_repeated(doc, root, pair)) {
            buf_addf(why, "%s:%zu: %s is there twice", c->file, key->start_mark.line + 1,
                     text_of(key));
            return ERR_CONFIG;
        }
        e = take_pair(c, doc, key, yaml_document_get_node(doc, pair->value), why);
    }
    return e;
}

/* One document; what stands after a "---" of its own is not ours. */
static enum err parse(struct config *c, FILE *in, struct buf *why)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    enum err e = ERR_CONFIG;

    if (yaml_parser_initialize(&parser) == 0)
        return ERR_NO_MEMORY;
    yaml_parser_set_input_file(&parser, in);
    if (yaml_parser_load(&parser, &doc) != 0) {
        e = take_document(c, &doc, why);
        yaml_document_delete(&doc);
    } else {
        buf_addf(why, "%s:%zu: not YAML: %s", c->file, parser.problem_mark.line + 1,
                 parser.problem != NULL ? parser.problem : "cannot be read");
    }
    yaml_parser_delete(&parser);
    return e;
}

enum err config_read_file(struct config *c, struct buf *why)
{
    FILE *in = fopen(c->file, "re");

    if (in == NULL) {
        buf_addf(why, "%s: %s", c->file, strerror(errno));
        return ERR_CONFIG;
    }
    enum err e = parse(c, in, why);
    fclose(in);
    return e;
}
