#include "tests/isolate/poisoned.h"

#include <stdlib.h>
#include <string.h>

struct service *poisoned_start(const char *database_url, const char *flags)
{
    const char *binary = getenv("BELAY_BINARY");

    binary = binary != NULL ? binary : "build/belay";
    return service_start(database_url,
                         text_of("--backoff-max-seconds 0 --tasks %.*s/poison.so %s",
                                 (int)(strrchr(binary, '/') - binary), binary, flags));
}
