/*
 * What Swift cannot import from libc and the kernel's headers: macros, variadic calls, and whatever hides behind
 * _GNU_SOURCE. Functions return -1 and set errno, like the calls they stand for, unless said otherwise.
 */
#ifndef SLUICE_LINUX_SHIMS_H
#define SLUICE_LINUX_SHIMS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <sys/vfs.h>

#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* "EBUSY" and "Device or resource busy": static strings; NULL for a number that is no errno. */
const char *sluice_error_name(int code);
const char *sluice_error_description(int code);

/* The calling thread. */
int sluice_thread_pin(int cpu);
int sluice_thread_cpu(void);
void sluice_thread_set_name(const char *name);
/* Number of CPUs in the calling thread's affinity mask that are below `limit`; fills `cpus`. */
int sluice_thread_affinity(int *cpus, int limit);

/* MPOL_BIND of [address, address + byte_count) to one node, before first touch, or MPOL_PREFERRED. */
int sluice_bind_to_node(void *address, size_t byte_count, int node, int is_strict);
/* The node on which the page at `address` lies; touches nothing that isn't there. */
int sluice_node_of(void *address);

/* memfd_create(MFD_CLOEXEC): memory with a descriptor, to be mapped more than once. */
int sluice_memory_file(const char *name);

/* The calling thread's effective capabilities, one bit each. */
int sluice_capabilities_effective(uint64_t *bits);


/* ETHTOOL_GDRVINFO and ETHTOOL_GCHANNELS (rx + combined, tx + combined) over any socket. */
int sluice_ethtool_driver(int socket, const char *interface_name, char *driver, size_t capacity);
int sluice_ethtool_channels(int socket, const char *interface_name, uint32_t *receive, uint32_t *transmit);

/* ETHTOOL_GSSET_INFO and ETHTOOL_GSTATS: how many statistics a driver keeps, and `count` of them; names of 32 bytes each. */
int sluice_ethtool_statistic_count(int socket, const char *interface_name, uint32_t *count);
int sluice_ethtool_statistics(int socket, const char *interface_name, uint32_t count, char *names, uint64_t *values);

/* unshare(CLONE_NEWNET) and setns(CLONE_NEWNET) of the calling thread. */
int sluice_enter_new_network_namespace(void);
int sluice_enter_network_namespace(int descriptor);

/* RTNLGRP_LINK as the bit of sockaddr_nl.nl_groups. */
#define SLUICE_RTMGRP_LINK 1

/* What a CPU wants to hear that looks at memory again and again. */
static inline void sluice_spin_hint(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb"); /* `yield` does nothing on most */
#endif
}

/*
 * The cache lines in front of packets of a UMEM will be read soon, and those in which the packets begin. `packets`: a ring
 * of `mask` + 1 entries, of which `count` from `first` on are meant. No address faults.
 */
static inline void sluice_prefetch(const char *frames, const struct xdp_desc *packets, uint32_t first, uint32_t count,
				   uint32_t mask)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t address = packets[(first + i) & mask].addr;
		const char *start = frames + (address & XSK_UNALIGNED_BUF_ADDR_MASK) + (address >> XSK_UNALIGNED_BUF_OFFSET_SHIFT);

		__builtin_prefetch(start - 1);
		__builtin_prefetch(start);
	}
}

/* linux/netdev.h, in headers since 6.3: the generic netlink family "netdev". */
#define SLUICE_NETDEV_CMD_DEV_GET 1
#define SLUICE_NETDEV_CMD_DEV_ADD_NTF 2
#define SLUICE_NETDEV_CMD_DEV_DEL_NTF 3
#define SLUICE_NETDEV_CMD_DEV_CHANGE_NTF 4
#define SLUICE_NETDEV_MCGRP_MGMT "mgmt"
#define SLUICE_NETDEV_A_DEV_IFINDEX 1
#define SLUICE_NETDEV_A_DEV_XDP_FEATURES 3
#define SLUICE_NETDEV_A_DEV_XDP_ZC_MAX_SEGS 4

/* linux/if_xdp.h of kernels newer than Debian 12's headers. */
#define SLUICE_XDP_USE_SG (1 << 4)             /* 6.6 */
#define SLUICE_XDP_MAX_TX_SKB_BUDGET 9
#define SLUICE_XDP_UMEM_TX_SW_CSUM (1 << 1)    /* 6.8 */
#define SLUICE_XDP_UMEM_TX_METADATA_LEN (1 << 2)
#define SLUICE_XDP_TXMD_FLAGS_TIMESTAMP (1 << 0)
#define SLUICE_XDP_TXMD_FLAGS_CHECKSUM (1 << 1)

struct sluice_xdp_umem_reg {
	uint64_t addr;
	uint64_t len;
	uint32_t chunk_size;
	uint32_t headroom;
	uint32_t flags;
	uint32_t tx_metadata_len; /* padding before 6.8 */
};

/* asm-generic/socket.h: glibc's module exports them on no architecture. */
#define SLUICE_SO_BUSY_POLL 46
#define SLUICE_SO_PREFER_BUSY_POLL 69
#define SLUICE_SO_BUSY_POLL_BUDGET 70

/* XDP_UMEM_PGOFF_* as values: Swift imports no 64-bit macro with a suffix. */
static const uint64_t sluice_xdp_page_offset_rx = XDP_PGOFF_RX_RING;
static const uint64_t sluice_xdp_page_offset_tx = XDP_PGOFF_TX_RING;
static const uint64_t sluice_xdp_page_offset_fill = XDP_UMEM_PGOFF_FILL_RING;
static const uint64_t sluice_xdp_page_offset_completion = XDP_UMEM_PGOFF_COMPLETION_RING;

#endif
