/* SPDX-License-Identifier: Apache-2.0
 *
 * Many datagrams in one call, for the static build. musl makes a call for each: the kernel's
 * lengths have 64 bits where POSIX wants 32, and musl would not write into what the caller owns. We
 * may.
 */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ == 8
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, unsigned flags)
{
	for (unsigned i = 0; i < count; i++) {
		struct msghdr *header = &messages[i].msg_hdr;
		header->__pad1 = 0;
		header->__pad2 = 0;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
			c->__pad1 = 0;
		}
	}
	return (int)syscall(SYS_sendmmsg, fd, messages, count, flags);
}
#endif
