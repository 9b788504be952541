/* A PKCS#11 module that says who it is, as the card middleware does, and nothing else. */
#include <string.h>

typedef unsigned long ulong_t;
struct version { unsigned char major, minor; };
struct info { struct version cryptoki; unsigned char maker[32]; ulong_t flags; unsigned char what[32]; struct version library; };
static struct { struct version version; void *functions[68]; } list;

static ulong_t fine(void) { return 0; }
static ulong_t not_supported(void) { return 0x54; }

static ulong_t get_info(struct info *info)
{
    memset(info, ' ', sizeof *info);
    info->cryptoki = (struct version){2, 20};
    memcpy(info->maker, "ANS", 3);
    info->flags = 0;
    memcpy(info->what, "CPS3 PKCS#11 LINUX", 18);
    info->library = (struct version){3, 1};
    return 0;
}

static ulong_t get_slots(unsigned char present, void *slots, ulong_t *count)
{
    (void)present, (void)slots;
    *count = 0;
    return 0;
}

ulong_t C_GetFunctionList(void **functions)
{
    list.version = (struct version){2, 20};
    for (int i = 0; i < 68; i++)
        list.functions[i] = (void *)not_supported;
    list.functions[0] = list.functions[1] = (void *)fine;
    list.functions[2] = (void *)get_info;
    list.functions[3] = (void *)C_GetFunctionList;
    list.functions[4] = (void *)get_slots;
    *functions = &list;
    return 0;
}
