#pragma once
/* libbpf and libxdp for Swift: what the importer cannot take over by itself. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <xdp/libxdp.h>

/* linux/bpf.h of 5.18 and newer; Debian 12's headers have them, older ones do not. */
#define SLUICE_BPF_F_XDP_HAS_FRAGS (1U << 5)
#define SLUICE_BPF_F_TEST_XDP_LIVE_FRAMES (1U << 1)

/* An error pointer of libxdp as a negative errno, 0 for a good one: libxdp_get_error() reads it from const void *. */
static inline long sluice_libxdp_error(const void *pointer) { return libxdp_get_error(pointer); }

/* LIBXDP_ERRSTR and DECLARE_LIBXDP_OPTS are macros that Swift cannot import. */
static inline struct xdp_program *sluice_xdp_program_create(struct bpf_object *object, const char *program_name)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, options, .obj = object, .prog_name = program_name);

	return xdp_program__create(&options);
}
