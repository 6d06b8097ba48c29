#include "common/app/app.h"
#include "ingester/ingester.h"

int main(int argc, char **argv)
{
    return app_main(argc, argv, &ingester_room);
}
