/* Merges that overlap: two compactors that see each other late or never, and remove what they believe to be merged, in any order of steps. */
#include "common/base/rng.h"
#include "common/objstore/succession.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

enum { BLOCKS = 8, HEIRS = 3, RANDOM_WORLDS = 3000 };

struct world {
    bool is_there[BLOCKS];
    char ids[BLOCKS][37];
    struct block_from from[HEIRS][BLOCKS];
    struct heir heirs[HEIRS];
    uint32_t heir_count;
};

static void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        w->is_there[i] = true;
        (void)snprintf(w->ids[i], sizeof w->ids[i], "%u", i);
    }
}

/* `inputs`: a bit a block. */
static void add_heir(struct world *w, const char *id, uint64_t since, uint32_t inputs)
{
    struct heir *h = &w->heirs[w->heir_count];

    *h = (struct heir){.id = id, .since_ns = since, .from = w->from[w->heir_count]};
    for (uint32_t i = 0; i < BLOCKS; i++)
        if ((inputs >> i & 1) != 0)
            (void)snprintf(w->from[w->heir_count][h->from_count++].id, 37, "%u", i);
    w->heir_count++;
}

static bool world_has(void *arg, const char *id)
{
    const struct world *w = arg;

    for (uint32_t i = 0; i < BLOCKS; i++)
        if (strcmp(w->ids[i], id) == 0)
            return w->is_there[i];
    return false;
}

/* How often a block is read: itself, if it is there and in no accepted heir, and in each accepted heir. */
static uint32_t times(struct world *w, const struct succession *s, const char *id)
{
    bool is_claimed;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->heir_count; i++)
        for (uint32_t k = 0; s->heirs[i].is_accepted && k < s->heirs[i].from_count; k++)
            n += strcmp(s->heirs[i].from[k].id, id) == 0;
    assert_int_equal(n > 0, succession_find(s, id, &is_claimed) != NULL);
    return n + (n == 0 && world_has(w, id));
}

static struct succession resolve(struct world *w, struct heir *heirs, uint32_t count,
                                 struct arena *a)
{
    struct succession s;

    arena_reset(a);
    assert_int_equal(succession_resolve(heirs, count, world_has, w, a, &s), ERR_OK);
    return s;
}

static void assert_exact(struct world *w, struct arena *a)
{
    struct heir heirs[HEIRS];

    /* Readers that know only some of the heirs too, as long as all inputs of those are there or in them. */
    for (uint32_t known = 0; known < 1U << w->heir_count; known++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < w->heir_count; i++)
            if ((known >> i & 1) != 0)
                heirs[n++] = w->heirs[i];
        struct succession s = resolve(w, heirs, n, a);
        for (uint32_t i = 0; i < BLOCKS; i++) {
            uint32_t seen = times(w, &s, w->ids[i]);
            assert_true(seen <= 1);
            if (w->is_there[i] || known + 1 == 1U << w->heir_count)
                assert_int_equal(seen, 1);
        }
    }
}

static void test_the_first_wins_and_the_others_inputs_are_back(void **state)
{
    struct arena a;
    struct world w;
    bool is_claimed;
    (void)state;

    arena_init(&a, NULL);
    world_init(&w);
    add_heir(&w, "b", 2, 0x1c); /* 2 3 4 */
    add_heir(&w, "a", 1, 0x07); /* 0 1 2 */
    add_heir(&w, "c", 3, 0x60); /* 5 6: alone */
    struct succession s = resolve(&w, w.heirs, 3, &a);
    assert_string_equal(succession_find(&s, "2", &is_claimed)->id, "a");
    assert_null(succession_find(&s, "3", &is_claimed));
    assert_true(is_claimed);
    assert_null(succession_find(&s, "7", &is_claimed));
    assert_false(is_claimed);
    assert_true(succession_is_rejected(&s, "b"));
    assert_false(succession_is_rejected(&s, "a"));
    assert_false(succession_is_rejected(&s, "3"));
    assert_string_equal(succession_find(&s, "6", &is_claimed)->id, "c");
    assert_exact(&w, &a);
    arena_release(&a);
}

/* b was accepted alone for long, and its inputs are being removed; a, older by its own clock, comes to light: at no step is a span lost or doubled. */
static void test_who_comes_late_takes_nothing_back(void **state)
{
    static const uint32_t orders[][3] = {{2, 3, 4}, {4, 3, 2}, {3, 2, 4}, {2, 4, 3}};
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    for (uint32_t o = 0; o < sizeof orders / sizeof orders[0]; o++) {
        struct world w;
        world_init(&w);
        add_heir(&w, "b", 2, 0x1c);
        add_heir(&w, "a", 1, 0x07);
        for (uint32_t step = 0; step < 3; step++) {
            struct heir heirs[HEIRS];
            w.is_there[orders[o][step]] = false;
            memcpy(heirs, w.heirs, sizeof heirs);
            struct succession s = resolve(&w, heirs, 2, &a);
            for (uint32_t i = 0; i < BLOCKS; i++)
                assert_int_equal(times(&w, &s, w.ids[i]), 1);
        }
    }
    arena_release(&a);
}

/* A compactor that was frozen for hours comes with a block whose inputs are all in others by now. */
static void test_who_comes_after_everybody_is_not_needed(void **state)
{
    struct arena a;
    struct world w;
    (void)state;

    arena_init(&a, NULL);
    world_init(&w);
    add_heir(&w, "frozen", 1, 0x1c); /* 2 3 4 */
    add_heir(&w, "a", 2, 0x07);      /* 0 1 2 */
    add_heir(&w, "c", 3, 0x38);      /* 3 4 5 */
    for (uint32_t i = 0; i < 6; i++)
        w.is_there[i] = false;
    struct succession s = resolve(&w, w.heirs, 3, &a);
    assert_true(succession_is_rejected(&s, "frozen"));
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(times(&w, &s, w.ids[i]), 1);
    arena_release(&a);
}

/* Random merges; whoever is accepted in the eyes of all removes its inputs one by one. */
static void test_any_schedule(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    struct arena a;
    struct rng rng;
    (void)state;

    arena_init(&a, NULL);
    rng_init(&rng, 7);
    for (uint32_t n = 0; n < RANDOM_WORLDS; n++) {
        struct world w;
        world_init(&w);
        for (uint32_t h = 0; h < HEIRS; h++) {
            uint32_t inputs = (uint32_t)(rng_u64(&rng) & ((1U << BLOCKS) - 1));
            add_heir(&w, names[h], rng_u64(&rng) % 3, inputs == 0 ? 1 : inputs);
        }
        assert_exact(&w, &a);
        for (uint32_t step = 0; step < 2 * BLOCKS; step++) {
            struct heir heirs[HEIRS];
            bool is_claimed;
            uint32_t i = (uint32_t)(rng_u64(&rng) % BLOCKS);
            memcpy(heirs, w.heirs, sizeof heirs);
            struct succession s = resolve(&w, heirs, HEIRS, &a);
            if (w.is_there[i] && succession_find(&s, w.ids[i], &is_claimed) != NULL)
                w.is_there[i] = false;
            memcpy(heirs, w.heirs, sizeof heirs);
            s = resolve(&w, heirs, HEIRS, &a);
            for (uint32_t k = 0; k < BLOCKS; k++)
                assert_int_equal(times(&w, &s, w.ids[k]), 1);
        }
    }
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_wins_and_the_others_inputs_are_back),
        cmocka_unit_test(test_who_comes_late_takes_nothing_back),
        cmocka_unit_test(test_who_comes_after_everybody_is_not_needed),
        cmocka_unit_test(test_any_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
