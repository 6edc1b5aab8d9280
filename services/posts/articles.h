/* The RPCs of stoa.posts.v1.ArticleService. */
#ifndef STOA_POSTS_ARTICLES_H
#define STOA_POSTS_ARTICLES_H

#include "service/service.h"

/* Adds the service to the server of a service that starts. */
int articles_register(struct service *service, struct str *ret_error) MUST_CHECK;

#endif
