/* order_by() and top(): which value stands for a trace, and which trace comes first. */
#include "common/query/eval.h"
#include "common/query/result.h"

static bool is_number(struct value v)
{
    return v.type == VALUE_INT || v.type == VALUE_FLOAT || v.type == VALUE_DURATION;
}

/* Numbers of any type by their size, NaN below all; else by type, then value. */
static int compare(struct value a, struct value b)
{
    if (!is_number(a) || !is_number(b) || (a.type != VALUE_FLOAT && b.type != VALUE_FLOAT)) {
        if (is_number(a) && is_number(b) && a.i != b.i)
            return a.i < b.i ? -1 : 1;
        return eval_value_order(a, b);
    }
    double x = a.type == VALUE_FLOAT ? a.f : (double)a.i;
    double y = b.type == VALUE_FLOAT ? b.f : (double)b.i;
    if (x != x || y != y)
        return (y != y) - (x != x);
    return (x > y) - (x < y);
}

int result_order_values(const struct result_order *o, struct value a, struct value b)
{
    if (a.type == VALUE_NIL || b.type == VALUE_NIL)
        return (a.type == VALUE_NIL) - (b.type == VALUE_NIL);
    return o->is_descending ? compare(b, a) : compare(a, b);
}

struct value result_order_best(const struct result_order *o, struct value a, struct value b)
{
    return result_order_values(o, b, a) < 0 ? b : a;
}

struct value result_order_value(const struct result_order *o, const struct result_attribute *list,
                                uint32_t count)
{
    for (uint32_t i = count; i > 0; i--)
        if (slice_eq(list[i - 1].key, o->key))
            return list[i - 1].value;
    return VALUE_NONE;
}
