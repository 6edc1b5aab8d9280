/* What this is a version of: programs say it (--version), services tell it with their health. */
#ifndef STOA_BASE_VERSION_H
#define STOA_BASE_VERSION_H

#define STOA_VERSION "1.0"
#define STOA_VERSION_DATE "2026-11-29" /* since when; in manual pages */

#endif
