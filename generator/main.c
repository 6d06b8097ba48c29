#include "common/app/app.h"
#include "generator/generator.h"

int main(int argc, char **argv)
{
    return app_main(argc, argv, &generator_room);
}
