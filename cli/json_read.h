/* Reads a message from a line of JSON, as `lq cat --json` writes it:
 *
 *     {"id":7,"key_enc":"utf8","key":"a","enc":"base64","data":"AAE="}
 *
 * "data" must be there; "key", "headers" and the encodings ("utf8" when not
 * given) may be; everything else may be there and is ignored. The grammar is
 * RFC 8259 to the letter: what jq refuses is refused here. */
#ifndef CLI_JSON_READ_H
#define CLI_JSON_READ_H

#include "libqueue.h"

#include <stdbool.h>
#include <stddef.h>

/* Decodes in place: the message points into `line`, whose bytes are changed.
 * On false `why_out` says what is wrong, and `column_out` where, from 1. */
bool json_read_message(char *line, size_t size, lq_message *message_out, const char **why_out, size_t *column_out);

#endif
