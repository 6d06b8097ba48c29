#include "common/store/page_template.h"

#include "common/base/hash.h"
#include "common/store/page.h"

#include <assert.h>
#include <string.h>

enum {
    MARK_NUMBER = 1, /* decimal, no zero in front of others */
    MARK_PADDED = 2, /* then a byte: its digits, the first is a zero */
    MARK_HEX = 3,    /* then a byte: its digits */
    MARK_UUID = 4,
    MARK_END = 5, /* a text with one of these bytes stays as it is */
    DIGITS_MAX = 18,
    HEX_MIN = 8,
    HEX_MAX = 255,
    UUID_LEN = 36,
    SLOTS_MAX = 32,
    SPLIT_MAX = 4096 /* longer texts stay as they are */
};

struct slot {
    uint8_t mark, width; /* width: digits of PADDED, HEX; bytes of a UUID's text */
    uint64_t number;     /* NUMBER, PADDED */
    const uint8_t *hex;  /* HEX, UUID: in the text */
};

struct split {
    uint8_t skeleton[SPLIT_MAX * 2];
    size_t len;
    struct slot *slots; /* [SLOTS_MAX], the caller's */
    uint32_t slot_count;
};

/* --- splitting --- */

enum byte_class { PLAIN, MARK, LETTER, DIGIT }; /* LETTER: a to f */

static const uint8_t classes[256] = {
    [MARK_NUMBER] = MARK, [MARK_PADDED] = MARK, [MARK_HEX] = MARK, [MARK_UUID] = MARK,
    ['0'] = DIGIT,        ['1'] = DIGIT,        ['2'] = DIGIT,     ['3'] = DIGIT,
    ['4'] = DIGIT,        ['5'] = DIGIT,        ['6'] = DIGIT,     ['7'] = DIGIT,
    ['8'] = DIGIT,        ['9'] = DIGIT,        ['a'] = LETTER,    ['b'] = LETTER,
    ['c'] = LETTER,       ['d'] = LETTER,       ['e'] = LETTER,    ['f'] = LETTER};

static bool is_digit(uint8_t c)
{
    return classes[c] == DIGIT;
}

static bool is_hex(uint8_t c)
{
    return classes[c] >= LETTER;
}

static size_t hex_run(struct slice s, size_t at, bool *ret_is_id)
{
    size_t n = 0, digits = 0;
    for (; at + n < s.len && is_hex(s.ptr[at + n]); n++)
        digits += is_digit(s.ptr[at + n]);
    *ret_is_id = n >= HEX_MIN && n <= HEX_MAX && digits != 0 && digits != n;
    return n;
}

/* Eight digits stand at `at`. */
static bool is_uuid(struct slice s, size_t at)
{
    if (s.len - at < UUID_LEN || (s.len - at > UUID_LEN && is_hex(s.ptr[at + UUID_LEN])))
        return false;
    for (size_t i = HEX_MIN; i < UUID_LEN; i++) {
        bool is_dash = i == HEX_MIN || i == 13 || i == 18 || i == 23;
        if (is_dash ? s.ptr[at + i] != '-' : !is_hex(s.ptr[at + i]))
            return false;
    }
    return true;
}

/* Adds a slot for what begins at `at`, and gives its length; 0 when nothing that varies begins there. */
static size_t split_slot(struct split *to, struct slice s, size_t at, bool is_run_begin)
{
    struct slot slot = {.hex = s.ptr + at};
    bool is_id = false;
    if (to->slot_count == SLOTS_MAX)
        return 0;
    size_t n = is_run_begin ? hex_run(s, at, &is_id) : 0;
    if (n == HEX_MIN && is_uuid(s, at)) {
        slot.mark = MARK_UUID;
        n = UUID_LEN;
        slot.width = UUID_LEN;
    } else if (is_id) {
        slot.mark = MARK_HEX;
        slot.width = (uint8_t)n;
    } else if (is_digit(s.ptr[at])) {
        for (n = 0; at + n < s.len && n < DIGITS_MAX && is_digit(s.ptr[at + n]); n++)
            slot.number = slot.number * 10 + (uint64_t)(s.ptr[at + n] - '0');
        slot.mark = n > 1 && s.ptr[at] == '0' ? MARK_PADDED : MARK_NUMBER;
        slot.width = (uint8_t)n;
    } else {
        return 0;
    }
    to->skeleton[to->len++] = slot.mark;
    if (slot.mark == MARK_PADDED || slot.mark == MARK_HEX)
        to->skeleton[to->len++] = slot.width;
    to->slots[to->slot_count++] = slot;
    return n;
}

/* False: the text stays as it is. */
static bool split(struct slice s, struct split *to)
{
    bool was_hex = false;
    to->len = 0;
    to->slot_count = 0;
    if (s.len > SPLIT_MAX)
        return false;
    for (size_t at = 0; at < s.len;) {
        uint8_t *skeleton = to->skeleton + to->len; /* the plain run first: most of all bytes */
        size_t n = 0;
        for (; at + n < s.len && classes[s.ptr[at + n]] == PLAIN; n++)
            skeleton[n] = s.ptr[at + n];
        to->len += n;
        at += n;
        was_hex = was_hex && n == 0;
        if (at == s.len)
            break;
        uint8_t class = classes[s.ptr[at]];
        if (class == MARK)
            return false;
        n = class == DIGIT || !was_hex ? split_slot(to, s, at, !was_hex) : 0;
        was_hex = true;
        if (n == 0) {
            to->skeleton[to->len++] = s.ptr[at];
            n = 1;
        }
        at += n;
    }
    return true;
}

/* --- putting --- */

struct piece { /* of a skeleton: bytes as they stand, then what varies; mark 0 at its end */
    uint16_t plain;
    uint8_t mark, width;
};

struct known { /* skeletons by number */
    struct slice *texts;
    struct piece **pieces; /* NULL: texts of it can not be followed */
    uint32_t *slot_counts, *slots, mask, count, max;
};

enum { LIKELY_SETS = 64, LIKELY_WAYS = 2 };

struct putting {
    struct known known;
    uint64_t *codes;      /* [count] */
    uint32_t *first_slot; /* [count] */
    struct slot *all;     /* of all texts, one after the other */
    uint32_t all_count, all_max;
    uint32_t likely[LIKELY_SETS][LIKELY_WAYS]; /* skeleton + 1 that texts of such a beginning had */
};

/* --- following: most texts have a skeleton that another text had; then it is enough to see that they are split alike --- */

/* The pieces of a skeleton; NULL when what stands beside a mark could change how a text is split: there letters or digits join it. */
static struct piece *pieces_of(const struct split *s, struct arena *tmp)
{
    struct piece *pieces = ARENA_ARRAY(tmp, struct piece, (size_t)s->slot_count + 1);
    uint32_t n = 0, letters = 0;
    bool is_after_slot = false;
    for (size_t i = 0; pieces != NULL && i < s->len; i++) {
        uint8_t byte = s->skeleton[i], class = classes[byte];
        letters = class == LETTER ? letters + 1 : 0;
        if (class == DIGIT || letters == HEX_MIN || (is_after_slot && class != PLAIN))
            return NULL;
        is_after_slot = class == MARK;
        if (!is_after_slot) {
            pieces[n].plain++;
            continue;
        }
        if (i != 0 && classes[s->skeleton[i - 1]] != PLAIN)
            return NULL;
        if (byte == MARK_PADDED || byte == MARK_HEX)
            pieces[n].width = s->skeleton[++i];
        pieces[n++].mark = byte;
    }
    return pieces;
}

/* What `p` says varies at `at`, where a run of digits and letters begins: its length, 0 when something else is there. */
static size_t follow_slot(const struct piece *p, struct slice s, size_t at, struct slot *ret)
{
    bool is_id = false;
    size_t n = 0;
    *ret = (struct slot){.mark = p->mark, .width = p->width, .hex = s.ptr + at};
    if (p->mark == MARK_NUMBER || p->mark == MARK_PADDED) {
        for (; at + n < s.len && n <= DIGITS_MAX && is_digit(s.ptr[at + n]); n++)
            ret->number = ret->number * 10 + (uint64_t)(s.ptr[at + n] - '0');
        bool is_padded = n > 1 && s.ptr[at] == '0';
        if (n == HEX_MIN || n > DIGITS_MAX || is_padded != (p->mark == MARK_PADDED) ||
            (is_padded && n != p->width) || (at + n < s.len && is_hex(s.ptr[at + n])))
            return 0;
        ret->width = (uint8_t)n;
        return n;
    }
    n = hex_run(s, at, &is_id);
    bool is_id_of_8 = n == HEX_MIN && is_uuid(s, at);
    ret->width = p->mark == MARK_UUID ? UUID_LEN : p->width;
    if (p->mark == MARK_UUID)
        return is_id_of_8 ? UUID_LEN : 0;
    return is_id && n == p->width && !is_id_of_8 ? n : 0;
}

/* Whether the text has this skeleton, as `split` would find; then its slots are filled in. */
static bool follow(const struct known *k, uint32_t number, struct slice s, struct slot *slots)
{
    const struct piece *p = k->pieces[number];
    const uint8_t *skeleton = k->texts[number].ptr;
    for (size_t at = 0; p != NULL; p++) {
        if (s.len - at < p->plain || memcmp(skeleton, s.ptr + at, p->plain) != 0)
            return false;
        skeleton += p->plain + (p->mark == MARK_PADDED || p->mark == MARK_HEX ? 2 : 1);
        at += p->plain;
        if (p->mark == 0)
            return at == s.len;
        size_t n = follow_slot(p, s, at, slots++);
        if (n == 0)
            return false;
        at += n;
    }
    return false;
}

/* By the first bytes, digits left out. */
static uint32_t *likely_of(struct putting *p, struct slice s)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t hash = 0;
    for (size_t i = 0; i + 8 <= s.len && i < 24; i += 8) {
        uint64_t eight = le64_read(s.ptr + i), low = eight & ones * 0x7f;
        uint64_t digits = (low + ones * (0x80 - '0')) & ~(low + ones * (0x7f - '9')) & ones * 0x80;
        hash = (hash ^ (eight & ~((digits >> 7) * 255))) * 0x9e3779b97f4a7c15u;
    }
    return p->likely[hash >> 58];
}
_Static_assert(LIKELY_SETS == 1 << (64 - 58), "the highest bits choose a set");

static bool follow_likely(struct putting *p, uint32_t *likely, struct slice s, uint32_t text)
{
    for (int way = 0; s.len <= SPLIT_MAX && way < LIKELY_WAYS; way++)
        if (likely[way] != 0 && follow(&p->known, likely[way] - 1, s, p->all + p->all_count)) {
            p->codes[text] = likely[way] - 1;
            p->first_slot[text] = p->all_count;
            p->all_count += p->known.slot_counts[likely[way] - 1];
            return true;
        }
    return false;
}

static enum err known_number(struct known *k, const struct split *s, struct arena *tmp,
                             uint64_t *ret)
{
    struct slice text = {s->skeleton, s->len};
    uint32_t slot = (uint32_t)hash_seeded(text) & k->mask;
    for (; k->slots[slot] != 0; slot = (slot + 1) & k->mask)
        if (slice_eq(k->texts[k->slots[slot] - 1], text)) {
            *ret = k->slots[slot] - 1;
            return ERR_OK;
        }
    *ret = k->count;
    if (k->count == k->max)
        return ERR_OK;
    k->texts[k->count] = arena_dup(tmp, text);
    k->pieces[k->count] = pieces_of(s, tmp);
    k->slot_counts[k->count] = s->slot_count;
    k->slots[slot] = ++k->count;
    return arena_err(tmp);
}

/* Room for the slots of one text more: they are filled in right there. */
static enum err reserve_slots(struct putting *p, struct arena *tmp)
{
    if (p->all_max - p->all_count >= SLOTS_MAX)
        return ERR_OK;
    uint32_t wider = p->all_max * 2 + SLOTS_MAX * 8;
    struct slot *all = wider < p->all_max ? NULL : arena_alloc(tmp, wider * sizeof *all);
    if (all == NULL)
        return wider < p->all_max ? ERR_TOO_LARGE : arena_err(tmp);
    if (p->all_count != 0)
        memcpy(all, p->all, p->all_count * sizeof *all);
    p->all = all;
    p->all_max = wider;
    return ERR_OK;
}

static enum err putting_init(struct putting *p, uint32_t count, struct arena *tmp)
{
    *p = (struct putting){0};
    p->known.max = count / 4 + 1;
    p->known.mask = 15;
    while (p->known.mask < p->known.max * 2)
        p->known.mask = p->known.mask * 2 + 1;
    p->known.texts = arena_alloc(tmp, p->known.max * sizeof *p->known.texts);
    p->known.pieces = arena_alloc(tmp, p->known.max * sizeof *p->known.pieces);
    p->known.slot_counts = arena_alloc(tmp, p->known.max * sizeof *p->known.slot_counts);
    p->known.slots = ARENA_ARRAY(tmp, uint32_t, (size_t)p->known.mask + 1);
    p->codes = arena_alloc(tmp, count * sizeof *p->codes);
    p->first_slot = arena_alloc(tmp, count * sizeof *p->first_slot);
    return arena_err(tmp);
}

/* Every text split; those that stay as they are have UINT64_MAX for a code.  *ret_pays: not too many skeletons. */
static enum err split_all(struct putting *p, const struct slice *texts, uint32_t count,
                          struct arena *tmp, bool *ret_pays)
{
    struct split *s = arena_alloc(tmp, sizeof *s);
    if (s == NULL)
        return arena_err(tmp);
    for (uint32_t i = 0; i < count; i++) {
        enum err e = reserve_slots(p, tmp);
        if (e != ERR_OK)
            return e;
        uint32_t *likely = likely_of(p, texts[i]);
        if (follow_likely(p, likely, texts[i], i))
            continue;
        s->slots = p->all + p->all_count;
        p->codes[i] = UINT64_MAX;
        if (!split(texts[i], s))
            continue;
        e = known_number(&p->known, s, tmp, &p->codes[i]);
        if (e != ERR_OK)
            return e;
        p->first_slot[i] = p->all_count;
        p->all_count += s->slot_count;
        likely[1] = likely[0];
        likely[0] = (uint32_t)p->codes[i] + 1;
        if (p->codes[i] == p->known.max) {
            *ret_pays = false;
            return ERR_OK;
        }
    }
    *ret_pays = true;
    return ERR_OK;
}

static uint8_t nibble(uint8_t c)
{
    return (uint8_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
}

static size_t hex_bytes(uint8_t mark, uint8_t width)
{
    return mark == MARK_UUID ? 16 : (width + 1u) / 2;
}

static void put_hex(struct buf *out, const struct slot *s)
{
    uint8_t *to = buf_extend(out, hex_bytes(s->mark, s->width));
    unsigned n = 0;
    for (uint8_t i = 0; to != NULL && i < s->width; i++) {
        if (s->hex[i] == '-')
            continue;
        if (n % 2 == 0)
            to[n / 2] = (uint8_t)(nibble(s->hex[i]) << 4);
        else
            to[n / 2] |= nibble(s->hex[i]);
        n++;
    }
}

/* What varies in the texts of one skeleton: slot by slot. */
static void put_slots(struct buf *out, const struct putting *p, const uint32_t *rows,
                      uint32_t count, uint32_t slots, uint64_t *values)
{
    for (uint32_t k = 0; k < slots; k++) {
        uint8_t mark = p->all[p->first_slot[rows[0]] + k].mark;
        bool is_number = mark == MARK_NUMBER || mark == MARK_PADDED;
        for (uint32_t i = 0; i < count; i++) {
            const struct slot *s = &p->all[p->first_slot[rows[i]] + k];
            if (is_number)
                values[i] = s->number;
            else
                put_hex(out, s);
        }
        if (is_number)
            page_put_ints(out, values, count);
    }
}

static enum err put_split(struct buf *out, struct putting *p, const struct slice *texts,
                          uint32_t count, struct arena *tmp)
{
    uint32_t n = p->known.count, plain = 0;
    uint32_t *end = ARENA_ARRAY(tmp, uint32_t, (size_t)n + 1);
    uint32_t *rows = arena_alloc(tmp, count * sizeof *rows);
    uint64_t *values = arena_alloc(tmp, count * sizeof *values);
    struct slice *rest = arena_alloc(tmp, count * sizeof *rest);
    struct buf slots;
    if (arena_err(tmp) != ERR_OK)
        return arena_err(tmp);
    for (uint32_t i = 0; i < count; i++) {
        if (p->codes[i] == UINT64_MAX)
            p->codes[i] = n;
        end[p->codes[i]]++;
    }
    for (uint32_t i = 0, sum = 0; i <= n; i++) {
        sum += end[i];
        end[i] = sum - end[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        rows[end[p->codes[i]]++] = i;
        if (p->codes[i] == n)
            rest[plain++] = texts[i];
    }
    buf_append_varint(out, n);
    page_put_texts(out, p->known.texts, n);
    page_put_ints(out, p->codes, count);
    buf_init(&slots, out->len_max);
    for (uint32_t i = 0, first = 0; i < n; first = end[i++]) {
        buf_reset(&slots);
        put_slots(&slots, p, rows + first, end[i] - first, p->known.slot_counts[i], values);
        buf_append_varint(out, slots.len);
        buf_append(out, buf_slice(&slots));
    }
    enum err e = buf_err(&slots);
    buf_release(&slots);
    page_put_texts(out, rest, plain);
    return e;
}

enum err page_template_put(struct buf *out, const struct slice *texts, uint32_t count,
                           struct arena *tmp, bool *ret_pays)
{
    struct putting p;
    enum err e = putting_init(&p, count, tmp);
    if (e == ERR_OK)
        e = split_all(&p, texts, count, tmp, ret_pays);
    return e == ERR_OK && *ret_pays ? put_split(out, &p, texts, count, tmp) : e;
}

/* --- getting --- */

struct column { /* a slot of a skeleton, for all of its texts */
    uint8_t mark, width;
    uint64_t *numbers;
    const uint8_t *hex;
};

struct skeleton {
    struct slice text, slots; /* slots: as they stand */
    struct column *columns;
    uint32_t column_count, count, next;
};

struct getting {
    struct skeleton *skeletons;
    uint64_t *codes; /* [value] */
    uint32_t skeleton_count, plain_count;
    struct slice *plain;
};

static enum err parse_skeleton(struct skeleton *s, struct arena *tmp)
{
    struct reader r = reader_of(s->text);
    uint32_t n = 0;
    for (size_t i = 0; i < s->text.len; i++)
        n += s->text.ptr[i] != 0 && s->text.ptr[i] < MARK_END;
    s->columns = ARENA_ARRAY(tmp, struct column, n);
    if (s->columns == NULL)
        return arena_err(tmp);
    while (!reader_done(&r)) {
        struct column c = {.mark = reader_u8(&r)};
        if (c.mark == 0 || c.mark >= MARK_END)
            continue;
        c.width = c.mark == MARK_NUMBER ? 0 : c.mark == MARK_UUID ? UUID_LEN : reader_u8(&r);
        if (reader_failed(&r) || (c.mark == MARK_PADDED && (c.width < 2 || c.width > DIGITS_MAX)) ||
            (c.mark == MARK_HEX && c.width < HEX_MIN))
            return ERR_CORRUPT;
        assert(s->column_count < n);
        s->columns[s->column_count++] = c;
    }
    return ERR_OK;
}

static enum err parse_slots(struct skeleton *s, struct arena *tmp)
{
    struct reader r = reader_of(s->slots);
    for (uint32_t k = 0; k < s->column_count; k++) {
        struct column *c = &s->columns[k];
        if (c->mark == MARK_HEX || c->mark == MARK_UUID) {
            c->hex = reader_take(&r, s->count * hex_bytes(c->mark, c->width)).ptr;
            continue;
        }
        c->numbers = arena_alloc(tmp, s->count * sizeof *c->numbers);
        if (c->numbers == NULL)
            return arena_err(tmp);
        enum err e = page_get_ints(&r, s->count, c->numbers);
        if (e != ERR_OK)
            return e;
    }
    return reader_failed(&r) || !reader_done(&r) ? ERR_CORRUPT : ERR_OK;
}

/* Everything but the slots of skeletons, which are only found. */
static enum err parse(struct slice raw, uint32_t count, struct arena *tmp, struct getting *g)
{
    struct reader r = reader_of(raw);
    struct slice *texts;
    uint64_t n = reader_varint(&r);
    if (reader_failed(&r) || n > count)
        return ERR_CORRUPT;
    enum err e = page_get_texts(&r, (uint32_t)n, tmp, &texts);
    *g = (struct getting){.skeleton_count = (uint32_t)n};
    g->skeletons = e == ERR_OK ? ARENA_ARRAY(tmp, struct skeleton, n) : NULL;
    g->codes = e == ERR_OK ? arena_alloc(tmp, (size_t)count * sizeof *g->codes) : NULL;
    if (e != ERR_OK || g->skeletons == NULL || g->codes == NULL)
        return e == ERR_OK ? arena_err(tmp) : e;
    e = page_get_ints(&r, count, g->codes);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        if (g->codes[i] > n)
            return ERR_CORRUPT;
        (*(g->codes[i] == n ? &g->plain_count : &g->skeletons[g->codes[i]].count))++;
    }
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        g->skeletons[i].text = texts[i];
        g->skeletons[i].slots = reader_bytes(&r);
        e = reader_failed(&r) ? ERR_CORRUPT : parse_skeleton(&g->skeletons[i], tmp);
    }
    return e == ERR_OK ? page_get_texts(&r, g->plain_count, tmp, &g->plain) : e;
}

static uint32_t digits_of(uint64_t v)
{
    uint32_t n = 1;
    for (; v >= 10; v /= 10)
        n++;
    return n;
}

/* The length of a text, or 0 and *ret_fits false when a number is longer than its place. */
static size_t length_of(const struct skeleton *s, uint32_t at, bool *ret_fits)
{
    size_t len = s->text.len;
    for (uint32_t k = 0; k < s->column_count; k++) {
        const struct column *c = &s->columns[k];
        len -= c->mark == MARK_NUMBER || c->mark == MARK_UUID ? 1 : 2;
        uint32_t digits =
            c->mark == MARK_NUMBER || c->mark == MARK_PADDED ? digits_of(c->numbers[at]) : 0;
        if (c->mark == MARK_PADDED && digits > c->width)
            *ret_fits = false;
        len += c->mark == MARK_NUMBER ? digits : c->width;
    }
    return len;
}

static uint8_t *render_slot(const struct column *c, uint32_t at, uint8_t *to)
{
    static const char hex[] = "0123456789abcdef";
    if (c->mark == MARK_NUMBER || c->mark == MARK_PADDED) {
        uint64_t v = c->numbers[at];
        uint32_t n = c->mark == MARK_NUMBER ? digits_of(v) : c->width;
        for (uint32_t i = n; i-- > 0; v /= 10)
            to[i] = (uint8_t)('0' + v % 10);
        return to + n;
    }
    const uint8_t *from = c->hex + at * hex_bytes(c->mark, c->width);
    for (uint32_t i = 0, n = 0; i < c->width; i++) {
        bool is_dash = c->mark == MARK_UUID && (i == 8 || i == 13 || i == 18 || i == 23);
        *to++ = (uint8_t)(is_dash ? '-' : hex[from[n / 2] >> (n % 2 == 0 ? 4 : 0) & 15]);
        n += !is_dash;
    }
    return to;
}

static void render(const struct skeleton *s, uint32_t at, uint8_t *to)
{
    const struct column *c = s->columns;
    for (size_t i = 0; i < s->text.len; i++) {
        uint8_t byte = s->text.ptr[i];
        if (byte == 0 || byte >= MARK_END) {
            *to++ = byte;
            continue;
        }
        to = render_slot(c++, at, to);
        i += byte == MARK_PADDED || byte == MARK_HEX;
    }
}

enum err page_template_get(struct slice raw, uint32_t count, struct arena *a, struct arena *tmp,
                           struct slice **ret)
{
    struct getting g;
    bool fits = true;
    uint64_t total = 0;
    enum err e = parse(raw, count, tmp, &g);
    for (uint32_t i = 0; e == ERR_OK && i < g.skeleton_count; i++)
        e = parse_slots(&g.skeletons[i], tmp);
    struct slice *texts = e == ERR_OK ? arena_alloc(a, (size_t)count * sizeof *texts) : NULL;
    if (texts == NULL)
        return e == ERR_OK ? arena_err(a) : e;
    for (uint32_t i = 0, plain = 0; i < count; i++) {
        struct skeleton *s = &g.skeletons[g.codes[i]];
        texts[i].len =
            g.codes[i] == g.skeleton_count ? g.plain[plain++].len : length_of(s, s->next++, &fits);
        total += texts[i].len;
    }
    if (!fits)
        return ERR_CORRUPT;
    uint8_t *to = arena_alloc(a, total);
    if (to == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < g.skeleton_count; i++)
        g.skeletons[i].next = 0;
    for (uint32_t i = 0, plain = 0; i < count; to += texts[i++].len) {
        texts[i].ptr = to;
        if (g.codes[i] != g.skeleton_count) {
            struct skeleton *s = &g.skeletons[g.codes[i]];
            render(s, s->next++, to);
        } else if (texts[i].len != 0) {
            memcpy(to, g.plain[plain++].ptr, texts[i].len);
        } else {
            plain++;
        }
    }
    *ret = texts;
    return ERR_OK;
}

static bool is_same_slot(const struct column *c, uint32_t at, const struct slot *want,
                         struct slice want_bytes)
{
    if (c->mark == MARK_NUMBER || c->mark == MARK_PADDED)
        return c->numbers[at] == want->number;
    return memcmp(c->hex + at * want_bytes.len, want_bytes.ptr, want_bytes.len) == 0;
}

/* The values of one skeleton that are the text: is_it[i] of its i-th. */
static enum err equal_slots(struct skeleton *s, const struct split *want, struct arena *tmp,
                            uint8_t *is_it)
{
    struct buf bytes;
    enum err e = parse_slots(s, tmp);
    assert(s->column_count == want->slot_count);
    memset(is_it, 1, s->count);
    buf_init(&bytes, HEX_MAX);
    for (uint32_t k = 0; e == ERR_OK && k < s->column_count; k++) {
        const struct column *c = &s->columns[k];
        buf_reset(&bytes);
        if (c->mark == MARK_HEX || c->mark == MARK_UUID)
            put_hex(&bytes, &want->slots[k]);
        e = buf_err(&bytes);
        for (uint32_t i = 0; e == ERR_OK && i < s->count; i++)
            is_it[i] &= is_same_slot(c, i, &want->slots[k], buf_slice(&bytes));
    }
    buf_release(&bytes);
    return e;
}

enum err page_template_equal(struct slice raw, uint32_t count, struct slice text, struct arena *tmp,
                             uint8_t *ret)
{
    struct getting g;
    struct split *want = arena_alloc(tmp, sizeof *want);
    struct slot *slots = arena_alloc(tmp, SLOTS_MAX * sizeof *slots);
    uint8_t *is_it = arena_alloc(tmp, count);
    if (arena_err(tmp) != ERR_OK)
        return arena_err(tmp);
    want->slots = slots;
    enum err e = parse(raw, count, tmp, &g);
    if (e != ERR_OK)
        return e;
    bool is_split = split(text, want);
    uint32_t code = is_split ? 0 : g.skeleton_count, at = 0;
    while (code < g.skeleton_count &&
           !slice_eq(g.skeletons[code].text, (struct slice){want->skeleton, want->len}))
        code++;
    if (is_split && code < g.skeleton_count)
        e = equal_slots(&g.skeletons[code], want, tmp, is_it);
    for (uint32_t i = 0; e == ERR_OK && !is_split && i < g.plain_count; i++)
        is_it[i] = slice_eq(g.plain[i], text);
    bool is_anywhere = !is_split || code < g.skeleton_count;
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        ret[i] = is_anywhere && g.codes[i] == code ? is_it[at++] : 0;
    return e;
}
