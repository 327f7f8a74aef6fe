#pragma once
/*
 * libbpf and libxdp for Swift: what the importer cannot take over by itself.
 *
 * Option and info structs are filled here and nowhere in Swift: libbpf and the kernel refuse a struct whose bytes behind the
 * last known field are not zero, padding included, and Swift gives padding no value (seen with bpf_xdp_query() in optimised
 * builds: EINVAL).
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
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

/* Numbers of the programs on an interface: in the driver, in the stack, or whichever there is. 0: none. */
static inline int sluice_xdp_query(int ifindex, __u32 *native, __u32 *generic, __u32 *any)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, options);
	int result = bpf_xdp_query(ifindex, 0, &options);

	*native = options.drv_prog_id;
	*generic = options.skb_prog_id;
	*any = options.prog_id;
	return result;
}

/* A descriptor of the new link, or -errno. `flags`: XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE. */
static inline int sluice_xdp_link_create(int program, int ifindex, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);

	return bpf_link_create(program, ifindex, BPF_XDP, &options);
}

/* BPF_PROG_TEST_RUN, once, with these bytes as the packet. */
static inline int sluice_test_run(int program, const void *data, __u32 byte_count)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data, .data_size_in = byte_count, .repeat = 1);

	return bpf_prog_test_run_opts(program, &options);
}

/* The same `repeat` times with live frames, as if they came from the interface `ingress_ifindex`. */
static inline int sluice_test_run_live(int program, const void *data, __u32 byte_count, __u32 ingress_ifindex, int repeat,
				       __u32 batch_size)
{
	struct xdp_md context = { .data_end = byte_count, .ingress_ifindex = ingress_ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data, .data_size_in = byte_count, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = repeat, .flags = SLUICE_BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = batch_size);

	return bpf_prog_test_run_opts(program, &options);
}

/* Number and name of a loaded program; `name` has room for BPF_OBJ_NAME_LEN bytes. */
static inline int sluice_program_info(int program, __u32 *identifier, char *name)
{
	struct bpf_prog_info info;
	__u32 byte_count = sizeof(info);
	int result;

	memset(&info, 0, sizeof(info));
	result = bpf_obj_get_info_by_fd(program, &info, &byte_count);
	*identifier = info.id;
	memcpy(name, info.name, BPF_OBJ_NAME_LEN);
	return result;
}

/* Bytes of a map's values, or -errno. */
static inline long sluice_map_value_size(int map)
{
	struct bpf_map_info info;
	__u32 byte_count = sizeof(info);
	int result;

	memset(&info, 0, sizeof(info));
	result = bpf_obj_get_info_by_fd(map, &info, &byte_count);
	return result < 0 ? result : (long)info.value_size;
}

/* The program in a link, and the interface that an XDP link is on: 0 after the interface went away. */
static inline int sluice_xdp_link_info(int link, __u32 *program_identifier, __u32 *ifindex)
{
	struct bpf_link_info info;
	__u32 byte_count = sizeof(info);
	int result;

	memset(&info, 0, sizeof(info));
	result = bpf_obj_get_info_by_fd(link, &info, &byte_count);
	*program_identifier = info.prog_id;
	*ifindex = info.xdp.ifindex;
	return result;
}

/*
 * Waits for an RCU grace period: XDP programs that run now are over then. -1 where the kernel refuses (nohz_full CPUs).
 * MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel/sched/membarrier.c); on one CPU it does nothing, and the caller, who
 * runs there, shows that no program does.
 */
static inline int sluice_wait_for_rcu(void) { return (int)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0); }
