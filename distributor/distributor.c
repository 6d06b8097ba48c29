#include "distributor/distributor.h"

static const char *control_listen(const struct config *c)
{
    return c->distributor_control_listen;
}

static enum err start(struct app *app, void **ret_room, struct err_detail *reterr_detail)
{
    (void)reterr_detail;
    *ret_room = app;
    return ERR_OK;
}

static void lanes(void *room, const char **ret_push_url, const char **ret_query_url)
{
    (void)room;
    *ret_push_url = *ret_query_url = "";
}

static enum member_state state(void *room, char *ret_text)
{
    (void)room;
    (void)ret_text;
    return MEMBER_ACTIVE;
}

static void drain(void *room)
{
    (void)room;
}

static void stop(void *room)
{
    (void)room;
}

const struct app_room distributor_room = {
    .role = "distributor",
    .control_listen = control_listen,
    .start = start,
    .lanes = lanes,
    .state = state,
    .drain = drain,
    .stop = stop,
};
