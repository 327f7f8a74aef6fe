#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/mempolicy.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *sluice_error_name(int code)
{
	return strerrorname_np(code);
}

const char *sluice_error_description(int code)
{
	return strerrordesc_np(code);
}

int sluice_thread_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE) {
		errno = EINVAL;
		return -1;
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

int sluice_thread_cpu(void)
{
	return sched_getcpu();
}

void sluice_thread_set_name(const char *name)
{
	pthread_setname_np(pthread_self(), name);
}

int sluice_thread_affinity(int *cpus, int limit)
{
	cpu_set_t set;
	int count = 0;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return -1;
	for (int cpu = 0; cpu < CPU_SETSIZE && count < limit; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[count++] = cpu;
	return count;
}

#define NODES_MAX 1024

int sluice_bind_to_node(void *address, size_t byte_count, int node, int is_strict)
{
	unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = {0};

	if (node < 0 || node >= NODES_MAX) {
		errno = EINVAL;
		return -1;
	}
	mask[node / (8 * sizeof(unsigned long))] = 1ul << (node % (8 * sizeof(unsigned long)));
	return syscall(SYS_mbind, address, byte_count, is_strict ? MPOL_BIND : MPOL_PREFERRED, mask, NODES_MAX + 1, 0);
}

int sluice_node_of(void *address)
{
	int node = -1;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0, address, MPOL_F_NODE | MPOL_F_ADDR) != 0)
		return -1;
	return node;
}

int sluice_capabilities_effective(uint64_t *bits)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) != 0)
		return -1;
	*bits = data[0].effective | (uint64_t)data[1].effective << 32;
	return 0;
}

static int ethtool(int socket, const char *interface_name, void *command)
{
	struct ifreq request = {0};

	if (strlen(interface_name) >= IFNAMSIZ) {
		errno = ENODEV;
		return -1;
	}
	strcpy(request.ifr_name, interface_name);
	request.ifr_data = command;
	return ioctl(socket, SIOCETHTOOL, &request);
}

int sluice_ethtool_driver(int socket, const char *interface_name, char *driver, size_t capacity)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};

	if (ethtool(socket, interface_name, &info) != 0)
		return -1;
	info.driver[sizeof(info.driver) - 1] = 0;
	strncpy(driver, info.driver, capacity - 1);
	driver[capacity - 1] = 0;
	return 0;
}

int sluice_ethtool_channels(int socket, const char *interface_name, uint32_t *receive, uint32_t *transmit)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};

	if (ethtool(socket, interface_name, &channels) != 0)
		return -1;
	*receive = channels.rx_count + channels.combined_count;
	*transmit = channels.tx_count + channels.combined_count;
	return 0;
}

int sluice_ethtool_statistic_count(int socket, const char *interface_name, uint32_t *count)
{
	union {
		struct ethtool_sset_info info;
		char bytes[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)]; /* info.data[1] */
	} request = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_STATS}};

	if (ethtool(socket, interface_name, &request) != 0)
		return -1;
	*count = request.info.sset_mask ? request.info.data[0] : 0;
	return 0;
}

int sluice_ethtool_statistics(int socket, const char *interface_name, uint32_t count, char *names, uint64_t *values)
{
	struct ethtool_gstrings *strings = calloc(1, sizeof(*strings) + (size_t)count * ETH_GSTRING_LEN);
	struct ethtool_stats *statistics = calloc(1, sizeof(*statistics) + (size_t)count * sizeof(uint64_t));
	int result = -1, error = ENOMEM;

	if (strings && statistics) {
		strings->cmd = ETHTOOL_GSTRINGS;
		strings->string_set = ETH_SS_STATS;
		strings->len = count;
		statistics->cmd = ETHTOOL_GSTATS;
		statistics->n_stats = count;
		if (ethtool(socket, interface_name, strings) == 0 && ethtool(socket, interface_name, statistics) == 0) {
			memcpy(names, strings->data, (size_t)count * ETH_GSTRING_LEN);
			memcpy(values, statistics->data, (size_t)count * sizeof(uint64_t));
			result = 0;
		}
		error = errno;
	}
	free(strings);
	free(statistics);
	errno = error;
	return result;
}

int sluice_enter_new_network_namespace(void)
{
	return unshare(CLONE_NEWNET);
}

int sluice_enter_network_namespace(int descriptor)
{
	return setns(descriptor, CLONE_NEWNET);
}

int sluice_memory_file(const char *name)
{
	return memfd_create(name, MFD_CLOEXEC);
}
