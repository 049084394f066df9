/* page: lists that come in pages. A statement is asked for one row more than the page
 * has, which tells that there is a next one; its first column is what the cursor is made
 * of, its second the document. Rejected: a count of all, which would walk over every row
 * for a figure that is old when it is read. */
#ifndef BELAY_HANDLERS_PAGE_H
#define BELAY_HANDLERS_PAGE_H

#include "handlers/submit.h"

/* The query's `limit`, 1 to 200; 50. */
enum err page_limit(struct request *req, int64_t *out_limit) MUST_CHECK;

/* How many of the rows are on the page; fewer than there are: there is a next one. */
int page_rows(struct request *req, const struct db_rows *rows);

/* {"key":[...],"next_cursor":...}: the first n rows; cursor NULL: it is the last page. */
void reply_page(struct request *req, const struct db_rows *rows, const char *key, int n,
                const char *cursor);

/* What the query calls a cursor is none of this list's. */
enum err fail_cursor(struct request *req) MUST_CHECK;

#endif
