#include "common/app/app.h"
#include "querier/querier.h"

int main(int argc, char **argv)
{
    return app_main(argc, argv, &querier_room);
}
