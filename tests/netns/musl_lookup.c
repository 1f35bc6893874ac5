/* SPDX-License-Identifier: Apache-2.0
 *
 * getaddrinfo of a musl program: `musl_lookup NAME [4|6]` prints the addresses, one a line, or the
 * name of the error. The tests link it statically, with musl-gcc.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const char *error_name(int error)
{
	switch (error) {
	case EAI_NONAME:
		return "EAI_NONAME";
	case EAI_AGAIN:
		return "EAI_AGAIN";
	case EAI_FAIL:
		return "EAI_FAIL";
	case EAI_NODATA:
		return "EAI_NODATA";
	default:
		return gai_strerror(error);
	}
}

int main(int argc, char *argv[])
{
	const char *family = argc > 2 ? argv[2] : "";
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
		.ai_family = *family == '4'   ? AF_INET
			     : *family == '6' ? AF_INET6
					      : AF_UNSPEC};
	struct addrinfo *list = NULL;
	int error = getaddrinfo(argc > 1 ? argv[1] : "", NULL, &hints, &list);
	if (error != 0) {
		puts(error_name(error));
		return 1;
	}
	for (const struct addrinfo *one = list; one; one = one->ai_next) {
		char text[NI_MAXHOST];
		if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0,
			    NI_NUMERICHOST) == 0) {
			puts(text);
		}
	}
	freeaddrinfo(list);
	return 0;
}
