/* SPDX-License-Identifier: Apache-2.0
 *
 * What redirect/ uses of libmnl, for the static build: Debian has libmnl as a shared library only.
 * Its header says what each function does (libmnl.h, of libmnl-dev); nothing is added to that.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t aligned(size_t len)
{
	return (uint32_t)MNL_ALIGN(len);
}

/* Sockets */

struct mnl_socket {
	int fd;
	struct sockaddr_nl local;
};

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	struct mnl_socket *nl = calloc(1, sizeof *nl);
	if (!nl) {
		return NULL;
	}
	nl->fd = socket(AF_NETLINK, SOCK_RAW | flags, bus);
	if (nl->fd < 0) {
		int fault = errno;
		free(nl);
		errno = fault;
		return NULL;
	}
	return nl;
}

int mnl_socket_bind(struct mnl_socket *nl, unsigned groups, pid_t pid)
{
	socklen_t len = sizeof nl->local;
	nl->local = (struct sockaddr_nl){
		.nl_family = AF_NETLINK, .nl_groups = groups, .nl_pid = (uint32_t)pid};
	if (bind(nl->fd, (struct sockaddr *)&nl->local, len) < 0) {
		return -1;
	}
	return getsockname(nl->fd, (struct sockaddr *)&nl->local, &len);
}

int mnl_socket_close(struct mnl_socket *nl)
{
	int rc = close(nl->fd);
	free(nl);
	return rc;
}

int mnl_socket_get_fd(const struct mnl_socket *nl)
{
	return nl->fd;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *nl)
{
	return nl->local.nl_pid;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *message, size_t len)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	return sendto(nl->fd, message, len, 0, (const struct sockaddr *)&kernel, sizeof kernel);
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buffer, size_t size)
{
	struct sockaddr_nl peer;
	struct iovec octets = {.iov_base = buffer, .iov_len = size};
	struct msghdr message = {
		.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &octets, .msg_iovlen = 1};
	ssize_t len = recvmsg(nl->fd, &message, 0);
	if (len >= 0 && (message.msg_flags & MSG_TRUNC) != 0) {
		errno = ENOSPC;
		return -1;
	}
	if (len >= 0 && message.msg_namelen != sizeof peer) {
		errno = EINVAL;
		return -1;
	}
	return len;
}

/* Messages */

struct nlmsghdr *mnl_nlmsg_put_header(void *buffer)
{
	struct nlmsghdr *message = buffer;
	*message = (struct nlmsghdr){.nlmsg_len = aligned(sizeof *message)};
	return message;
}

static void *tail(const struct nlmsghdr *message)
{
	return (uint8_t *)(uintptr_t)message + aligned(message->nlmsg_len);
}

void *mnl_nlmsg_put_extra_header(struct nlmsghdr *message, size_t size)
{
	void *header = tail(message);
	memset(header, 0, aligned(size));
	message->nlmsg_len += aligned(size);
	return header;
}

void *mnl_nlmsg_get_payload(const struct nlmsghdr *message)
{
	return (uint8_t *)(uintptr_t)message + aligned(sizeof *message);
}

size_t mnl_nlmsg_get_payload_len(const struct nlmsghdr *message)
{
	return message->nlmsg_len - aligned(sizeof *message);
}

bool mnl_nlmsg_ok(const struct nlmsghdr *message, int left)
{
	return left >= (int)sizeof *message && message->nlmsg_len >= sizeof *message &&
	       message->nlmsg_len <= (unsigned)left;
}

struct nlmsghdr *mnl_nlmsg_next(const struct nlmsghdr *message, int *left)
{
	*left -= (int)aligned(message->nlmsg_len);
	return tail(message);
}

/* Whose answer it is, and to what. */
static int refuse(const struct nlmsghdr *message, unsigned seq, unsigned portid)
{
	if (message->nlmsg_pid && portid && message->nlmsg_pid != portid) {
		return ESRCH;
	}
	if (message->nlmsg_seq && seq && message->nlmsg_seq != seq) {
		return EPROTO;
	}
	return message->nlmsg_flags & NLM_F_DUMP_INTR ? EINTR : 0;
}

/* An error, which may be none: an acknowledgement. */
static int error_take(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);
	if (mnl_nlmsg_get_payload_len(message) < sizeof *error) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	errno = abs(error->error);
	return error->error == 0 ? MNL_CB_STOP : MNL_CB_ERROR;
}

int mnl_cb_run(const void *buffer, size_t len, unsigned seq, unsigned portid, mnl_cb_t function,
	void *data)
{
	const struct nlmsghdr *message = buffer;
	int rc = MNL_CB_OK;
	for (int left = (int)len; rc > MNL_CB_STOP && mnl_nlmsg_ok(message, left);
		message = mnl_nlmsg_next(message, &left)) {
		int fault = refuse(message, seq, portid);
		if (fault) {
			errno = fault;
			return MNL_CB_ERROR;
		}
		if (message->nlmsg_type == NLMSG_ERROR) {
			rc = error_take(message);
		} else if (message->nlmsg_type == NLMSG_DONE) {
			rc = MNL_CB_STOP;
		} else if (message->nlmsg_type >= NLMSG_MIN_TYPE && function) {
			rc = function(message, data);
		}
	}
	return rc;
}

/* Attributes, written */

void mnl_attr_put(struct nlmsghdr *message, uint16_t type, size_t len, const void *data)
{
	struct nlattr *attr = tail(message);
	uint8_t *payload = (uint8_t *)attr + MNL_ATTR_HDRLEN;
	attr->nla_type = type;
	attr->nla_len = (uint16_t)(MNL_ATTR_HDRLEN + len);
	memcpy(payload, data, len);
	memset(payload + len, 0, aligned(len) - len);
	message->nlmsg_len += aligned(attr->nla_len);
}

static bool has_room(const struct nlmsghdr *message, size_t size, size_t len)
{
	return message->nlmsg_len + MNL_ATTR_HDRLEN + aligned(len) <= size;
}

bool mnl_attr_put_check(
	struct nlmsghdr *message, size_t size, uint16_t type, size_t len, const void *data)
{
	bool room = has_room(message, size, len);
	if (room) {
		mnl_attr_put(message, type, len, data);
	}
	return room;
}

void mnl_attr_put_u8(struct nlmsghdr *message, uint16_t type, uint8_t value)
{
	mnl_attr_put(message, type, sizeof value, &value);
}

void mnl_attr_put_u16(struct nlmsghdr *message, uint16_t type, uint16_t value)
{
	mnl_attr_put(message, type, sizeof value, &value);
}

void mnl_attr_put_u32(struct nlmsghdr *message, uint16_t type, uint32_t value)
{
	mnl_attr_put(message, type, sizeof value, &value);
}

void mnl_attr_put_strz(struct nlmsghdr *message, uint16_t type, const char *text)
{
	mnl_attr_put(message, type, strlen(text) + 1, text);
}

struct nlattr *mnl_attr_nest_start(struct nlmsghdr *message, uint16_t type)
{
	struct nlattr *attr = tail(message);
	attr->nla_type = NLA_F_NESTED | type; /* its length comes with its end */
	message->nlmsg_len += MNL_ATTR_HDRLEN;
	return attr;
}

struct nlattr *mnl_attr_nest_start_check(struct nlmsghdr *message, size_t size, uint16_t type)
{
	return has_room(message, size, 0) ? mnl_attr_nest_start(message, type) : NULL;
}

void mnl_attr_nest_end(struct nlmsghdr *message, struct nlattr *attr)
{
	attr->nla_len = (uint16_t)((uint8_t *)tail(message) - (uint8_t *)attr);
}

/* Attributes, read */

uint16_t mnl_attr_get_type(const struct nlattr *attr)
{
	return attr->nla_type & NLA_TYPE_MASK;
}

uint16_t mnl_attr_get_payload_len(const struct nlattr *attr)
{
	return (uint16_t)(attr->nla_len - MNL_ATTR_HDRLEN);
}

void *mnl_attr_get_payload(const struct nlattr *attr)
{
	return (uint8_t *)(uintptr_t)attr + MNL_ATTR_HDRLEN;
}

const char *mnl_attr_get_str(const struct nlattr *attr)
{
	return mnl_attr_get_payload(attr);
}

uint8_t mnl_attr_get_u8(const struct nlattr *attr)
{
	return *(const uint8_t *)mnl_attr_get_payload(attr);
}

uint16_t mnl_attr_get_u16(const struct nlattr *attr)
{
	uint16_t value;
	memcpy(&value, mnl_attr_get_payload(attr), sizeof value);
	return value;
}

uint32_t mnl_attr_get_u32(const struct nlattr *attr)
{
	uint32_t value;
	memcpy(&value, mnl_attr_get_payload(attr), sizeof value);
	return value;
}

int mnl_attr_validate(const struct nlattr *attr, enum mnl_attr_data_type type)
{
	static const uint8_t least[MNL_TYPE_MAX] = {[MNL_TYPE_U8] = 1,
		[MNL_TYPE_U16] = 2,
		[MNL_TYPE_U32] = 4,
		[MNL_TYPE_U64] = 8,
		[MNL_TYPE_NUL_STRING] = 1};
	uint16_t len = mnl_attr_get_payload_len(attr);
	if (type >= MNL_TYPE_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (len < least[type]) {
		errno = ERANGE;
		return -1;
	}
	if (type == MNL_TYPE_NUL_STRING && mnl_attr_get_str(attr)[len - 1] != '\0') {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

static int attrs_walk(const uint8_t *octets, size_t len, mnl_attr_cb_t function, void *data)
{
	int rc = MNL_CB_OK;
	while (rc > MNL_CB_STOP && len >= MNL_ATTR_HDRLEN) {
		const struct nlattr *attr = (const void *)octets;
		if (attr->nla_len < MNL_ATTR_HDRLEN || attr->nla_len > len) {
			break;
		}
		rc = function(attr, data);
		size_t step = aligned(attr->nla_len);
		octets += step;
		len -= step < len ? step : len;
	}
	return rc;
}

int mnl_attr_parse(
	const struct nlmsghdr *message, unsigned offset, mnl_attr_cb_t function, void *data)
{
	const uint8_t *payload = mnl_nlmsg_get_payload(message);
	size_t len = mnl_nlmsg_get_payload_len(message);
	size_t skip = aligned(offset);
	return skip > len ? MNL_CB_OK : attrs_walk(payload + skip, len - skip, function, data);
}

int mnl_attr_parse_nested(const struct nlattr *nested, mnl_attr_cb_t function, void *data)
{
	return attrs_walk(
		mnl_attr_get_payload(nested), mnl_attr_get_payload_len(nested), function, data);
}
