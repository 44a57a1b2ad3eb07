/* Loads a plugin, has it recover faults, and unloads it, twice. With a second argument it then faults
   itself, in front of a handler of its own if the argument is "handler". */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void handler(int signal) {
    (void)signal;
    _exit(7);
}

int main(int count, char **arguments) {
    if (count > 2 && strcmp(arguments[2], "handler") == 0) signal(SIGSEGV, handler);
    for (int turn = 0; turn < 2; turn++) {
        void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!plugin) return 2;
        int (*ours)(void) = (int (*)(void))dlsym(plugin, "plugin_ours");
        if (!ours || ours() != 0) return 3;
        if (dlclose(plugin) != 0) return 4;
    }
    if (count > 2) *(volatile char *)0 = 1;
    puts("recovered");
    return 0;
}
