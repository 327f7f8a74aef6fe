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
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
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

/* A descriptor of an array of one map like `inner`, or -errno. */
static inline int sluice_map_of_maps_create(const char *name, int inner)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (__u32)inner);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, name, sizeof(__u32), sizeof(__u32), 1, &options);
}

/* BPF_PROG_TEST_RUN, once, with these bytes as the packet. */
static inline int sluice_test_run(int program, const void *data, __u32 byte_count)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data, .data_size_in = byte_count, .repeat = 1);

	return bpf_prog_test_run_opts(program, &options);
}

/*
 * A request to run a program with live frames, ready for the system call. Without a context the frames come from the
 * loopback device of the caller's namespace. `data` is what each page holds at first.
 */
struct sluice_live_run {
	union bpf_attr request;
	__u8 data[4096];
};

static inline void sluice_live_run_prepare(struct sluice_live_run *run, int program)
{
	memset(run, 0, sizeof(*run));
	run->request.test.prog_fd = program;
	run->request.test.data_in = (__u64)(unsigned long)run->data;
	run->request.test.flags = SLUICE_BPF_F_TEST_XDP_LIVE_FRAMES;
}

/* Runs it `repeat` times; frames of `byte_count` bytes, `batch` of them in one bulk. 0 or -errno. libbpf copies more. */
static inline int sluice_live_run(struct sluice_live_run *run, __u32 repeat, __u32 byte_count, __u32 batch)
{
	run->request.test.repeat = repeat;
	run->request.test.data_size_in = byte_count;
	run->request.test.data_size_out = 0; /* the kernel writes it */
	run->request.test.batch_size = batch;
	return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &run->request, sizeof(run->request)) == 0 ? 0 : -errno;
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

/* Bytes of a map's values and the number of its entries, or -errno. */
static inline int sluice_map_sizes(int map, __u32 *value_size, __u32 *max_entries)
{
	struct bpf_map_info info;
	__u32 byte_count = sizeof(info);
	int result;

	memset(&info, 0, sizeof(info));
	result = bpf_obj_get_info_by_fd(map, &info, &byte_count);
	*value_size = info.value_size;
	*max_entries = info.max_entries;
	return result;
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
