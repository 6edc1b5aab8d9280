/* lib/schema/canonical.c: one form for every serialization of a message. The expected bytes are
 * those that protobuf's own Python library makes of the same input. */
#include "json_fixture.h"

#include <errno.h>

static const struct {
    const char *type, *wire, *canonical;
} forms[] = {
    {"Scalars", "", ""},
    /* Any order, the last value, the shortest numbers. */
    {"Scalars", "28012002", "20022801"},
    {"Scalars", "180118021803", "1803"},
    {"Scalars", "18818000", "1801"},
    {"Scalars", "18ffffffff0f", "18ffffffffffffffffff01"},
    {"Scalars", "28ffffffffffffffffff01", "28ffffffff0f"},
    {"Scalars", "388280808010", "3802"},
    {"Scalars", "68ac02", "6801"},
    {"Scalars", "8001ffffffff0f", "8001ffffffffffffffffff01"},
    /* No defaults without presence; -0 is none. */
    {"Scalars", "0900000000000000001500000000180068007200", ""},
    {"Scalars", "18808080808020", ""},
    {"Scalars", "090000000000000080", "090000000000000080"},
    {"Choice", "08003000", "08003000"},
    {"Choice", "08011201611200", "1200"},
    {"Choice", "08011a031201611a0208010801", "0801"},
    {"Choice", "1a031201611a020801", "1a050801120161"},
    {"Choice", "1a03120161120178120179", "120179"},
    {"Choice", "1a0312016108011a020805", "1a020805"},
    /* Lists as they are declared, in the order of their elements. */
    {"Lists", "1801180218ff8080800f", "1a0c0102ff808080ffffffffff01"},
    {"Lists", "1a0201021803", "1a03010203"},
    {"Lists", "1a00", ""},
    {"Lists", "2a0801000000020000002d04000000310300000000000000",
     "2a0c01000000020000000400000032080300000000000000"},
    {"Lists", "620301ac0260fe01", "600160ac0260fe01"},
    {"Lists", "4a01614a00180142016142004a0162", "1a010142016142004a01614a004a0162"},
    {"Lists", "5a0208015a00", "5a0208015a00"},
    /* Maps by key; both members of an entry; the last entry of a key. */
    {"Maps", "0a060a01621201780a060a01611201790a050a00120178",
     "0a050a001201780a060a01611201790a060a0162120178"},
    {"Maps", "0a070a0261621201780a060a01621201790a070a026161120178",
     "0a070a0261611201780a070a0261621201780a060a0162120179"},
    {"Maps", "0a060a01611201780a060a0161120179", "0a060a0161120179"},
    {"Maps", "0a00", "0a040a001200"},
    {"Maps", "0a061201780a0161", "0a060a0161120178"},
    {"Maps", "1204080210011204080110021204080110081204080110011204080a1001",
     "1204080110011204080210011204080a1001"},
    {"Maps", "120408011001120d0880808080f8ffffffff01100112081001088080808010",
     "120d0880808080f8ffffffff011001120408001001120408011001"},
    {"Maps", "32070a016212020801320512000a0161320512000a0162", "32050a0161120032050a01621200"},
    {"Maps", "1a0d08ffffffffffffffffff0110011a0408001002",
     "1a0d08ffffffffffffffffff0110011a0408001002"},
    {"Maps", "22040801100122041001080022040803100022021001", "220408001001220408011000"},
    {"Maps", "2a050a016110072a050a01621001", "2a050a016110072a050a01621001"},
    {"Maps", "3a0508011201613a0508021201623a050800120163",
     "3a0508011201613a0508001201633a050802120162"},
    {"Maps", "42090902000000000000004212090100000000000000110000000000000000",
     "42120901000000000000001100000000000000004212090200000000000000110000000000000000"},
    /* Submessages are merged. */
    {"Node", "1a031201621a020801", "1a050801120162"},
    {"Node", "1a041a0208011a051a03120162", "1a071a050801120162"},
    {"Node", "1a0208011a0412026162", "1a06080112026162"},
    /* Unknown fields stay, behind the others, as they are. */
    {"Node", "f8070108012a03f007037dffffffff", "08012a03f00703f807017dffffffff"},
    {"Node", "1201610802a30608ffffff7fa406", "0802120161a30608ffffff7fa406"},
    /* Proto2: presence, groups, closed enums, extensions. */
    {"Old", "08003b08013c", "08003b08013c"},
    {"Old", "3b08013c3b120208023c", "3b0801120208023c"},
    {"Old", "43440800430a014144430a017844", "08004344430a014144430a017844"},
    {"Old", "1801180920012009200220002a0501090200012809",
     "1801200120022a03010201180920092000280928002809"},
    {"Old", "c206020102a00605a00600c00603cb060a04a0068100cc06",
     "a00600c20603010203cb060a03a00601cc06"},
};

static int canonical(struct arena *arena, const char *type, struct str wire, struct buf *to,
                     struct schema_fault *fault)
{
    return schema_canonical_wire(json_test_type(schema, type), wire, to, arena, fault);
}

/* And what is canonical stays as it is. */
static void makes_one_form(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf once, twice;
        int err;

        arena_init(&arena, 1 << 20);
        buf_init(&once, 1 << 20);
        buf_init(&twice, 1 << 20);
        err =
            canonical(&arena, forms[i].type, json_test_bytes(&arena, forms[i].wire), &once, &fault);
        if (err)
            print_message("%s %s: %d, %.*s %.*s\n", forms[i].type, forms[i].wire, err,
                          STR_FMT(fault.path), STR_FMT(fault.message));
        assert_int_equal(err, 0);
        json_test_equal_hex(forms[i].wire, buf_str(&once), forms[i].canonical);
        assert_int_equal(canonical(&arena, forms[i].type, buf_str(&once), &twice, &fault), 0);
        assert_true(str_eq(buf_str(&once), buf_str(&twice)));
        buf_free(&once);
        buf_free(&twice);
        arena_free(&arena);
    }
}

/* Unknown fields keep their bytes, even where a number is longer than it needs to be; an entry of a
 * map with an unknown value of a closed enum is an unknown field. */
static void keeps_unknown_bytes(void **state UNUSED)
{
    static const struct {
        const char *type, *wire, *canonical;
    } cases[] = {
        {"Node", "f8078100080a", "080af8078100"},
        {"Node", "120161f80705120162f80706", "120162f80705f80706"},
        {"Maps", "0a090a0161f8070112017a", "0a060a016112017a"},
        {"Holder", "a8060108ffff037a0161", "a8060108ffff037a0161"},
        {"Old", "32050a0161100932050a016210010801", "080132050a0162100132050a01611009"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schema_fault fault;
        struct arena arena;
        struct buf to;

        arena_init(&arena, 1 << 20);
        buf_init(&to, 1 << 20);
        assert_int_equal(
            canonical(&arena, cases[i].type, json_test_bytes(&arena, cases[i].wire), &to, &fault),
            0);
        json_test_equal_hex(cases[i].wire, buf_str(&to), cases[i].canonical);
        buf_free(&to);
        arena_free(&arena);
    }
}

static void refuses_what_the_check_refuses(void **state UNUSED)
{
    static const struct {
        const char *type, *wire, *path, *message;
    } cases[] = {
        {"Node", "0a", "", "is not well-formed protobuf"},
        {"Node", "1a031201ff", "left.name", "is not valid UTF-8"},
        {"Strict", "", "id", "is required"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schema_fault fault;
        struct arena arena;
        struct buf to;

        arena_init(&arena, 1 << 20);
        buf_init(&to, 1 << 20);
        buf_append_str(&to, STR("before"));
        assert_int_equal(
            canonical(&arena, cases[i].type, json_test_bytes(&arena, cases[i].wire), &to, &fault),
            -EBADMSG);
        assert_true(str_eq(fault.path, str_of(cases[i].path)));
        assert_true(str_eq(fault.message, str_of(cases[i].message)));
        assert_true(str_eq(buf_str(&to), STR("before")));
        buf_free(&to);
        arena_free(&arena);
    }
}

/* Too little room is said as such at every size, too little memory at any allocation. */
static void says_when_room_or_memory_is_used_up(void **state UNUSED)
{
    static const char wire[] = "12040802100112040801100212040800100412040801100f";
    struct schema_fault fault;
    struct arena bytes;
    struct buf to;
    int err = -1;

    arena_init(&bytes, 0);
    for (size_t max = 0; err; max++) {
        struct arena arena;

        arena_init(&arena, 0);
        buf_init(&to, max);
        err = canonical(&arena, "Maps", json_test_bytes(&bytes, wire), &to, &fault);
        assert_true(err ? err == -EMSGSIZE && to.n == 0 : to.n == max && max == 18);
        buf_free(&to);
        arena_free(&arena);
    }
    err = -1;
    for (size_t max = 1; err; max *= 2) {
        struct arena arena;

        arena_init(&arena, max);
        buf_init(&to, 1 << 10);
        err = canonical(&arena, "Maps", json_test_bytes(&bytes, wire), &to, &fault);
        assert_true(err == 0 || err == -ENOMEM);
        buf_free(&to);
        arena_free(&arena);
    }
    arena_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_one_form),
        cmocka_unit_test(keeps_unknown_bytes),
        cmocka_unit_test(refuses_what_the_check_refuses),
        cmocka_unit_test(says_when_room_or_memory_is_used_up),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
