#include "tests/chaos/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TIMEOUT_S = 20, URL_BYTES = 4096 };

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct http_client *c = arg;
    size_t len = size * n;

    if (c->len + len + 1 > c->room) {
        c->room = (c->len + len + 1) * 2;
        c->text = realloc(c->text, c->room);
        if (c->text == NULL)
            abort();
    }
    memcpy(c->text + c->len, bytes, len);
    c->len += len;
    c->text[c->len] = '\0';
    return len;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
    static const char name[] = "retry-after:";
    struct http_client *c = arg;

    if (size * n > sizeof name && strncasecmp(bytes, name, sizeof name - 1) == 0)
        c->retry_after = true;
    return size * n;
}

void http_client_init(struct http_client *c, int port)
{
    *c = (struct http_client){.curl = curl_easy_init(), .port = port};
    if (c->curl == NULL)
        abort();
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
}

void http_client_release(struct http_client *c)
{
    curl_easy_cleanup(c->curl);
    free(c->text);
}

long http_send(struct http_client *c, const char *method, const char *path,
               const char *body)
{
    char url[URL_BYTES], key[96];
    long status = 0;
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: application/json");

    snprintf(key, sizeof key, "Idempotency-Key: %s", c->key);
    if (c->key[0] != '\0')
        headers = curl_slist_append(headers, key);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", c->port, path);
    c->len = 0;
    c->retry_after = false;
    if (c->text != NULL)
        c->text[0] = '\0';
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, body != NULL ? headers : NULL);
    if (strcmp(method, "GET") == 0) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    } else {
        curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
    }
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    if (curl_easy_perform(c->curl) == CURLE_OK)
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    return status;
}

json_t *http_json(const struct http_client *c)
{
    return c->len > 0 ? json_loadb(c->text, c->len, 0, NULL) : NULL;
}

void http_answer(const struct http_client *c, char *out_result, size_t size,
                 int *out_attempt)
{
    json_t *doc = http_json(c);
    const json_t *attempt = json_object_get(json_object_get(doc, "job"), "attempt");
    const char *result = json_string_value(json_object_get(doc, "code"));

    if (result == NULL)
        result = json_string_value(json_object_get(doc, "result"));
    snprintf(out_result, size, "%s", result != NULL ? result : "");
    *out_attempt = json_is_integer(attempt) ? (int)json_integer_value(attempt) : -1;
    json_decref(doc);
}

void http_member(const struct http_client *c, const char *name, char *out, size_t size)
{
    json_t *doc = http_json(c);
    const char *text = json_string_value(json_object_get(doc, name));

    snprintf(out, size, "%s", text != NULL ? text : "");
    json_decref(doc);
}
