// A library that is linked on a new system asks for the newest versions of glibc's functions, though the old
// ones do the same. CMakeLists.txt has the linker send each use of them (--wrap), those in the static C++
// library too, to these, which ask for the version of 2002 that every x86-64 glibc still has.
// tools/kernels_wheel.py checks that nothing newer than the wheel's tag is left.
#include <cstddef>
#include <pthread.h>

#define OLD(type, name, arguments) \
    extern "C" type older_##name arguments; \
    __asm__(".symver older_" #name ", " #name "@GLIBC_2.2.5"); \
    extern "C" type __wrap_##name arguments

OLD(void *, dlsym, (void *handle, const char *name)) { return older_dlsym(handle, name); }

OLD(float, logf, (float x)) { return older_logf(x); }

OLD(int, pthread_create, (pthread_t * id, const pthread_attr_t *how, void *(*run)(void *), void *with)) {
    return older_pthread_create(id, how, run, with);
}

OLD(int, pthread_join, (pthread_t id, void **result)) { return older_pthread_join(id, result); }

OLD(int, pthread_detach, (pthread_t id)) { return older_pthread_detach(id); }

OLD(int, pthread_once, (pthread_once_t * flag, void (*run)())) { return older_pthread_once(flag, run); }

OLD(int, __pthread_key_create, (pthread_key_t * key, void (*end)(void *))) { return older___pthread_key_create(key, end); }

// New in 2.32: whether locks may be left out. Never, is right everywhere.
extern "C" char __libc_single_threaded;
char __libc_single_threaded = 0;
