/* The contract for fuzz targets, compiled by protoc when a target begins. They run in the tree's
 * root. */
#ifndef STOA_FUZZ_CONTRACT_H
#define STOA_FUZZ_CONTRACT_H

#include "../unit/protoc_schema.h"
#include "schema/tables.h"

/* protos: a literal, names of files below proto/ and tests/unit/protos/. */
#define load_contract(protos)                                                \
    protoc_schema("cd proto && protoc --include_imports -o /dev/stdout -I. " \
                  "-I../tests/unit/protos -I/usr/include " protos)

#endif
