/* What this is a version of: programs say it (--version), services tell it with their health. */
#ifndef STOA_BASE_VERSION_H
#define STOA_BASE_VERSION_H

#define STOA_VERSION "1.0"

#endif
