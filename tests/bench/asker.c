/* SPDX-License-Identifier: Apache-2.0
 *
 * asker ADDRESS PORT lasting|new QUERIES PID: asks for one name as an application does, from a
 * socket that it keeps, not connected, or from a new one for each query, and checks whence each
 * answer comes. Some queries are in flight at a time, so that nobody sleeps much. Reports the CPU
 * time that it and the server, process PID, have used for one query, together.
 */
#include "tests/bench/measure.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FLIGHT = 32, DATAGRAM = 512, PATIENCE_MS = 2000 };

static const uint8_t QUERY[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 'r', 'e', 'd', 'i', 's', 3,
	's', 'v', 'c', 4, 'm', 'e', 's', 'h', 5, 'l', 'o', 'c', 'a', 'l', 0, 0, 1, 0, 1};

static struct sockaddr_in server;
static uint64_t wrong;
static uint64_t lost;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0) {
		die("asker: socket");
	}
	return fd;
}

static void ask(int fd)
{
	if (sendto(fd, QUERY, sizeof(QUERY), 0, (const struct sockaddr *)&server, sizeof(server)) !=
		sizeof(QUERY)) {
		die("asker: sendto");
	}
}

static void take(int fd)
{
	uint8_t octets[DATAGRAM];
	struct sockaddr_in from = {.sin_family = AF_UNSPEC};
	socklen_t len = sizeof(from);
	ssize_t n =
		recvfrom(fd, octets, sizeof(octets), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	if (n < 0) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		if (poll(&wait, 1, PATIENCE_MS) != 1) {
			lost++;
			return;
		}
		len = sizeof(from);
		n = recvfrom(
			fd, octets, sizeof(octets), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
	}
	/* One answer record, NOERROR. */
	if (n <= (ssize_t)sizeof(QUERY) || (octets[3] & 15) != 0 || octets[7] != 1 ||
		from.sin_addr.s_addr != server.sin_addr.s_addr ||
		from.sin_port != server.sin_port) {
		wrong++;
	}
}

/* Ask as many as may be in flight, then take the answers. */
static void turn(bool lasting)
{
	static int fds[FLIGHT] = {-1};

	for (unsigned i = 0; i < FLIGHT; i++) {
		if (!lasting || fds[0] < 0) {
			fds[i] = open_socket();
		} else {
			fds[i] = fds[0];
		}
		ask(fds[i]);
	}
	for (unsigned i = 0; i < FLIGHT; i++) {
		take(fds[i]);
		if (!lasting) {
			close(fds[i]);
		}
	}
}

static uint64_t own_cpu_ns(void)
{
	pid_t pid = getpid();

	return cpu_time_ns(&pid, 1);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: asker ADDRESS PORT lasting|new QUERIES PID\n");
		return 2;
	}
	pid_t pid = (pid_t)strtol(argv[5], NULL, 10);
	bool lasting = strcmp(argv[3], "lasting") == 0;
	unsigned long turns = strtoul(argv[4], NULL, 10) / FLIGHT;

	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || turns == 0) {
		die("asker: arguments");
	}
	for (unsigned long i = 0; i < turns / 10 + 1; i++) {
		turn(lasting); /* all is warm then */
	}
	uint64_t client_ns = own_cpu_ns();
	uint64_t server_ns = cpu_time_ns(&pid, 1);

	for (unsigned long i = 0; i < turns; i++) {
		turn(lasting);
	}
	client_ns = own_cpu_ns() - client_ns;
	server_ns = cpu_time_ns(&pid, 1) - server_ns;
	double queries = (double)turns * FLIGHT;

	printf("{\"client_us\": %.3f, \"server_us\": %.3f, \"wrong\": %lu, \"lost\": %lu}\n",
		(double)client_ns / 1e3 / queries, (double)server_ns / 1e3 / queries,
		(unsigned long)wrong, (unsigned long)lost);
	return wrong == 0 && lost == 0 ? 0 : 1;
}
