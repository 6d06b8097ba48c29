#include "common/query/regex.h"

#include <new>
#include <string>

#include <re2/re2.h>

extern "C" {
#include "common/base/utf8.h"
}

struct ql_regex {
    RE2 re;
    bool is_anchored;

    ql_regex(const std::string &pattern, const RE2::Options &options, bool anchored)
        : re(pattern, options), is_anchored(anchored)
    {
    }
};

namespace
{

constexpr int64_t memory_bytes_max = 8 << 20;

/* Go's newer spelling of a named group, (?<name>...), in the one that RE2 knows; and whether \C occurs, which Go has not. */
bool to_re2(struct slice pattern, std::string &ret)
{
    bool is_literal = false; /* between \Q and \E */
    bool is_class = false;

    for (size_t i = 0; i < pattern.len; i++) {
        char c = (char)pattern.ptr[i];
        char next = i + 1 < pattern.len ? (char)pattern.ptr[i + 1] : '\0';
        ret.push_back(c);
        if (c == '\\' && i + 1 < pattern.len && (!is_literal || next == 'E')) {
            if (next == 'C')
                return false;
            is_literal = (is_literal || (next == 'Q' && !is_class)) && next != 'E';
            ret.push_back(next);
            i++;
        } else if (is_literal) {
            continue;
        } else if (c == '[' && !is_class) {
            is_class = true;
            if (next == '^') {
                ret.push_back(next);
                i++;
            }
            if (i + 1 < pattern.len && pattern.ptr[i + 1] == ']') { /* first, it is a member */
                ret.push_back(']');
                i++;
            }
        } else if (c == '[' && next == ':') { /* [:alpha:] */
            ret.push_back(next);
            i++;
        } else if (c == ':' && next == ']' && is_class) {
            ret.push_back(next);
            i++;
        } else if (c == ']' && is_class) {
            is_class = false;
        } else if (c == '(' && !is_class && next == '?' && i + 3 < pattern.len &&
                   pattern.ptr[i + 2] == '<' && pattern.ptr[i + 3] != '=' &&
                   pattern.ptr[i + 3] != '!') {
            ret.append("?P");
            i++;
        }
    }
    return true;
}

enum err compile(struct slice pattern, bool is_anchored, struct ql_regex **ret,
                 struct err_detail *reterr_detail)
{
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(memory_bytes_max);
    options.set_dot_nl(is_anchored);
    std::string text;
    if (!to_re2(pattern, text))
        return err_detail_set(reterr_detail, ERR_INVALID, "invalid escape sequence: \\C");
    struct ql_regex *r = new ql_regex(text, options, is_anchored);
    if (r->re.ok()) {
        *ret = r;
        return ERR_OK;
    }
    enum err e = r->re.error_code() == RE2::ErrorPatternTooLarge ? ERR_LIMIT : ERR_INVALID;
    e = err_detail_set(reterr_detail, e, "%s", r->re.error().c_str());
    delete r;
    return e;
}

enum err compile_or_nomem(struct slice pattern, bool is_anchored, struct ql_regex **ret,
                          struct err_detail *reterr_detail)
{
    try {
        return compile(pattern, is_anchored, ret, reterr_detail);
    } catch (const std::bad_alloc &) {
        return ERR_NOMEM;
    }
}

bool match(const struct ql_regex *r, re2::StringPiece text)
{
    return r->re.Match(text, 0, text.size(), r->is_anchored ? RE2::ANCHOR_BOTH : RE2::UNANCHORED,
                       nullptr, 0);
}

/* RE2 refuses to match a byte that is no UTF-8 with anything; Go takes it for U+FFFD. */
bool match_replaced(const struct ql_regex *r, struct slice text)
{
    try {
        std::string valid;
        while (text.len != 0) {
            size_t bytes = utf8_char_bytes(text);
            if (bytes == 0)
                valid.append("\xef\xbf\xbd");
            else
                valid.append((const char *)text.ptr, bytes);
            text = slice_sub(text, bytes == 0 ? 1 : bytes, text.len);
        }
        return match(r, valid);
    } catch (const std::bad_alloc &) {
        return false;
    }
}

} // namespace

enum err regex_compile(struct slice pattern, struct ql_regex **ret,
                       struct err_detail *reterr_detail)
{
    return compile_or_nomem(pattern, true, ret, reterr_detail);
}

enum err regex_compile_search(struct slice pattern, struct ql_regex **ret,
                              struct err_detail *reterr_detail)
{
    return compile_or_nomem(pattern, false, ret, reterr_detail);
}

bool regex_match(const struct ql_regex *r, struct slice text)
{
    if (match(r, re2::StringPiece((const char *)text.ptr, text.len)))
        return true;
    return !utf8_is_valid(text) && match_replaced(r, text);
}

void regex_free(struct ql_regex *r)
{
    delete r;
}
