/* Arrays go in PostgreSQL's binary form (array_recv: dimensions, null flag, element oid,
 * length, lower bound, then each element behind its length), so nothing is quoted and
 * nothing can be injected. Rejected: array literals as text, which cost a quoting pass
 * here and a parsing pass there. */
#include "db/params.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

/* Microseconds from 1970 to 2000, where PostgreSQL's timestamps start. */
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

struct type {
    char letter;
    unsigned oid, array_oid;
    int width; /* 0: text */
};

static const struct type types[] = {
    {'l', 20, 1016, 8},   {'i', 23, 1007, 4}, {'s', 21, 1005, 2}, {'b', 16, 1000, 1},
    {'t', 1184, 1185, 8}, {'x', 25, 1009, 0}, {'j', 114, 199, 0}, {'g', 23, 1007, 4},
};

static const struct type *type_of(char letter)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].letter == letter)
            return &types[i];
    }
    assert(false && "a letter that gen_sql.awk does not make");
    return NULL;
}

int params_types(const struct statement *s, unsigned oids[PARAMS_MAX])
{
    int n = (int)strlen(s->types);

    assert(n <= PARAMS_MAX);
    for (int i = 0; i < n; i++) {
        const struct type *t = type_of(s->types[i]);
        oids[i] = s->is_array ? t->array_oid : t->oid;
    }
    return n;
}

static void add_int32(struct buf *b, int32_t value)
{
    uint32_t wire = htobe32((uint32_t)value);

    buf_add(b, &wire, sizeof wire);
}

static void add_number(struct buf *b, const struct type *t, int64_t num)
{
    uint64_t wire;

    if (t->letter == 't')
        num -= POSTGRES_EPOCH_US;
    wire = htobe64((uint64_t)num << (64 - 8 * t->width));
    buf_add(b, &wire, (size_t)t->width);
}

/* One value without its length. */
static void add_value(struct buf *b, const struct type *t, const struct db_value *v)
{
    if (t->width == 0)
        buf_add(b, v->text, (size_t)v->len);
    else
        add_number(b, t, v->num);
}

static void add_element(struct buf *b, const struct type *t, const struct db_value *v)
{
    if (v->null) {
        add_int32(b, -1);
        return;
    }
    add_int32(b, t->width == 0 ? v->len : t->width);
    add_value(b, t, v);
}

static int count_rows(int n_parts, const struct db_part *parts)
{
    int n = 0;

    for (int i = 0; i < n_parts; i++)
        n += parts[i].n_rows;
    return n;
}

static void add_array_head(struct buf *b, const struct type *t, int n_rows)
{
    add_int32(b, n_rows > 0); /* dimensions */
    add_int32(b, 1);          /* may hold nulls */
    add_int32(b, (int32_t)t->oid);
    if (n_rows > 0) {
        add_int32(b, n_rows);
        add_int32(b, 1); /* lower bound */
    }
}

/* The array of column `column` of all parts; column -1 is the number of the part. */
static void add_array(struct buf *b, const struct type *t, int column, int n_columns,
                      int n_parts, const struct db_part *parts)
{
    add_array_head(b, t, count_rows(n_parts, parts));
    for (int i = 0; i < n_parts; i++) {
        struct db_value number = db_int(i);
        for (int row = 0; row < parts[i].n_rows; row++)
            add_element(
                b, t, column < 0 ? &number : &parts[i].values[row * n_columns + column]);
    }
}

static int count_columns(const struct statement *s)
{
    int n = 0;

    for (const char *c = s->types; *c != '\0'; c++)
        n += *c != 'g';
    return n;
}

/* Where each parameter starts is kept as an offset until the buffer has stopped moving.
 */
enum err params_pack(struct params *p, const struct statement *s, int n_parts,
                     const struct db_part *parts)
{
    size_t offsets[PARAMS_MAX];
    bool nulls[PARAMS_MAX] = {false};
    int n_columns = count_columns(s), column = 0;

    p->count = (int)strlen(s->types);
    buf_init(&p->bytes);
    for (int i = 0; i < p->count; i++) {
        const struct type *t = type_of(s->types[i]);
        int source = t->letter == 'g' ? -1 : column++;
        offsets[i] = p->bytes.len;
        if (s->is_array)
            add_array(&p->bytes, t, source, n_columns, n_parts, parts);
        else if (!(nulls[i] = parts[0].values[source].null))
            add_value(&p->bytes, t, &parts[0].values[source]);
        p->lengths[i] = (int)(p->bytes.len - offsets[i]);
        p->formats[i] = 1;
    }
    if (p->bytes.failed)
        return ERR_NO_MEMORY;
    for (int i = 0; i < p->count; i++)
        p->values[i] = nulls[i] ? NULL : p->bytes.text + offsets[i];
    return ERR_OK;
}

void params_release(struct params *p)
{
    buf_release(&p->bytes);
}
