#include "common/base/rfc3339.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <time.h>

/* "Z", "+hh:mm" or "-hh:mm": seconds east of UTC. */
static bool zone_parse(const char *text, int64_t *ret_s)
{
    int hours, minutes, used = 0;

    *ret_s = 0;
    if (strcmp(text, "Z") == 0)
        return true;
    if ((text[0] != '+' && text[0] != '-') ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 ||
        text[6] != '\0' || hours > 23 || minutes > 59)
        return false;
    *ret_s = (hours * 60 + minutes) * 60 * (text[0] == '-' ? -1 : 1);
    return true;
}

bool rfc3339_parse(struct slice text, uint64_t *ret_ns)
{
    uint64_t fraction = 0, unit = (uint64_t)NS_PER_S / 10;
    struct tm tm = {0};
    char copy[48];
    int64_t zone;

    if (text.len >= sizeof copy)
        return false;
    if (text.len != 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const char *end = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end != NULL && *end == '.')
        for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
            fraction += (uint64_t)(*end - '0') * unit;
    if (end == NULL || !zone_parse(end, &zone))
        return false;
    int64_t seconds = timegm(&tm) - zone;
    if (seconds < 0 || (uint64_t)seconds >= UINT64_MAX / (uint64_t)NS_PER_S)
        return false;
    *ret_ns = (uint64_t)seconds * (uint64_t)NS_PER_S + fraction;
    return true;
}
