/* Text that people read beside other people's text: what may be in it. Pure; any thread. */
#ifndef STOA_TEXT_PLAIN_TEXT_H
#define STOA_TEXT_PLAIN_TEXT_H

#include "base/base.h"

enum plain_text {
    PLAIN_TEXT_ONE_LINE, /* a title, an address */
    PLAIN_TEXT_LINES,    /* paragraphs: line ends and tabs as well */
};

/* What is wrong with a text, in plain words, or NULL. Refused are control characters, characters
 * that are none, and the embeddings and overrides of direction (U+202A to U+202E), which reach
 * beyond their text and can make it read as another; isolates and marks (Unicode Standard Annex #9)
 * do what an honest writer needs. */
const char *plain_text_fault(struct str text, enum plain_text kind);

/* Whether valid UTF-8 has white space alone (the property White_Space), or nothing. */
bool text_is_blank(struct str text);

#endif
