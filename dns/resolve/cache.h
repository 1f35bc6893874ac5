/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache: upstream's responses, each kept as it came but for its OPT, and given out again with
 * their TTLs counted down. One for each worker, in one slab that never grows: nothing is allocated
 * after cache_new. No I/O, and no clock: time is a parameter, in milliseconds of a clock that does
 * not go back.
 *
 * How a query goes:
 *
 *	cache_get      CACHE_HIT: send. CACHE_FAILED: found.rcode with found.ede. Else forward.
 *	               found.prefetch: forward as well, with nobody to wait for it.
 *	cache_put      each response that ends a transaction.
 *	cache_put_failure   each transaction that ends without one; then, and 1.8 s
 *	               after a CACHE_STALE was forwarded, cache_get with `stale` set
 *	               for each who waits (RFC 8767 §5).
 */
#pragma once

#include "dns/wire/edns.h"
#include "dns/wire/relay.h"
#include "dns/wire/response.h"

struct cache;

enum { /* what struct cache_settings usually holds */
	CACHE_SIZE = 4 << 20,
	CACHE_SIZE_MIN = 64 << 10,
	CACHE_SIZE_MAX = 1 << 30,
	CACHE_TTL_MAX = 86400,       /* seconds */
	CACHE_NEGATIVE_TTL_MAX = 30, /* seconds */
	CACHE_STALE_MAX = 3600       /* seconds */
};

enum {
	CACHE_SUBNET_MAX = EDNS_SUBNET_MAX,
	CACHE_FAILURE_MAX_MS = 5000, /* RFC 9520 §3.2 asks for 1 s at least */
	CACHE_STALE_TTL = 30         /* seconds: RFC 8767 §4 */
};

/** How a cache is to be. */
struct cache_settings {
	size_t size;               /* octets in all; taken as CACHE_SIZE_MIN..CACHE_SIZE_MAX */
	uint64_t seed;             /* random; no requestor must know it (it keys the hash) */
	uint32_t ttl_max;          /* seconds a positive answer is kept at most */
	uint32_t negative_ttl_max; /* seconds a negative answer is kept at most (RFC 2308 §5) */
	uint32_t stale_max;        /* seconds of use after its time (RFC 8767 §5); 0: none */
	bool nxdomain_covers;      /* NXDOMAIN denies the names below it, too (RFC 8020) */
};

/** What an answer is for. The spans are borrowed during the call. */
struct cache_key {
	struct span name; /* folded, uncompressed: 1..255 octets, as in struct dname */
	uint16_t qtype;
	uint16_t qclass;
	bool edns_do;        /* RFC 4035 §3.2.1 */
	bool cd;             /* RFC 4035 §3.2.2 */
	struct span subnet;  /* client subnet option as it was asked with, code and length included:
				8..CACHE_SUBNET_MAX octets; usually empty */
	uint8_t zone_labels; /* of the zone whose servers are asked: an NXDOMAIN for a name above
				it came from others, and denies nothing in it */
};

/** A query to the cache. Spans and pointers are borrowed during the call. */
struct cache_ask {
	struct cache_key key;
	const struct query *query; /* its id, flags, question, has_opt, edns_do, is_signed count */
	size_t limit;              /* octets of the largest response that may be sent: 512..65535 */
	struct span options; /* of our own OPT: cookie, keepalive, … as on the wire; or empty */
	bool stale;          /* an answer may be given after its time */
};

enum cache_result {
	CACHE_MISS,  /* nothing is known */
	CACHE_STALE, /* nothing but an answer after its time, which `stale` would have given */
	CACHE_HIT,   /* the response stands in `out` */
	CACHE_FAILED /* it was tried moments ago, in vain (RFC 9520) */
};

/** What else there is to say about an answer. */
struct cache_found {
	uint16_t rcode;
	bool stale;    /* a CACHE_HIT after its time */
	bool covered;  /* a CACHE_HIT by the NXDOMAIN of this name or one above it */
	bool prefetch; /* a CACHE_HIT that is asked for often and ends soon; said once a second */
	int ede;       /* enum ede: of CACHE_FAILED, or what went with a CACHE_HIT */
};

/** An entry, for operators. */
struct cache_entry {
	uint16_t qtype;
	uint16_t qclass;
	uint16_t rcode;
	bool edns_do;
	bool cd;
	bool failure;
	uint8_t subnet_len;
	uint8_t subnet[CACHE_SUBNET_MAX];
	uint8_t scope;   /* that the server chose for the subnet, in bits */
	int64_t left_ms; /* until its time is over; below 0 after it */
	uint32_t ttl;    /* seconds it had at first */
	uint32_t hits;   /* since it was last refreshed */
	size_t size;     /* octets */
};

/** Sums since cache_new, but for the first three. */
struct cache_figures {
	uint64_t size;       /* octets of the slab */
	uint64_t entries;    /* now */
	uint64_t octets;     /* that they take now */
	uint64_t hits;       /* answers within their time, covered ones included */
	uint64_t misses;     /* queries without one; those with `stale` set do not count */
	uint64_t covered;    /* NXDOMAIN by RFC 8020 */
	uint64_t stale;      /* answers after their time */
	uint64_t failed;     /* CACHE_FAILED; likewise */
	uint64_t insertions; /* failures included */
	uint64_t evictions;  /* for want of room */
	uint64_t refused;    /* responses that may not be remembered */
	uint64_t prefetches; /* hits with found.prefetch */
};

/** @return NULL without memory. Pages that are never needed are never touched. */
struct cache *cache_new(const struct cache_settings *settings);

/** NULL is a no-op. */
void cache_free(struct cache *cache);

/** The key of a query that was read without error; of the root's zone. Borrows `q`. */
struct cache_key cache_key_query(const struct query *q, struct span subnet);

/**
 * The key of what an asker asked.
 *
 * @param[out] name  where the folded name is kept: as long as the key
 */
struct cache_key cache_key_asker(struct dname *name, const struct asker *a, struct span subnet);

/**
 * Answer from the cache.
 *
 * As relay_response would have it: ID and spelling are the requestor's; RD and CD too; AD only for
 * a requestor that set AD or DO; OPT is ours, if and only if the requestor sent one; over the
 * limit, whole records of the answer section as far as they fit, and TC. All TTLs of a response are
 * what is left of its lowest one; AA is clear (RFC 1035 §4.1.1), and AD, too, after its time. The
 * first extended error that came with the response goes with it, without its text. A client subnet
 * goes back with the scope that the server chose (RFC 7871 §7.2.2); NXDOMAIN of another name never
 * covers for it. Nor does it cover for a name that had an answer within its time when the NXDOMAIN
 * came.
 *
 * A query that is signed (TSIG, SIG(0)) is a miss.
 *
 * @param      now_ms  now
 * @param      out     room for the response; its `len` grows by a CACHE_HIT's
 * @param[out] found   every member set
 * Cost: one probe and one copy; where the name is not there, one probe more for each of its labels
 * at most.
 */
enum cache_result cache_get(struct cache *cache, const struct cache_ask *ask, int64_t now_ms,
	struct writer *out, struct cache_found *found);

/**
 * Begin to bring what cache_get will read into the processor's cache. First where the key's chain
 * begins; when that is there, its first entry.
 *
 * @return for cache_fetch_entry
 */
uint32_t cache_fetch_chain(const struct cache *cache, const struct cache_key *key);
void cache_fetch_entry(const struct cache *cache, uint32_t hash);

/**
 * Whether an answer, a failure or an NXDOMAIN that covers the name is there, within its time.
 * Changes nothing, counts nothing.
 */
bool cache_has(const struct cache *cache, const struct cache_key *key, int64_t now_ms);

/**
 * Remember a response, in the place of what was remembered for its key, failures included. That is
 * forgotten, too, where the response answers what was asked but may not be remembered.
 *
 * Not remembered are: other RCODEs than NOERROR and NXDOMAIN; TC; another question than the key's;
 * an answer section with records out of the name's chain of aliases, or with that chain out of
 * order; a negative response without the SOA of a zone that holds the name (RFC 2308 §5); a client
 * subnet that is not the key's; a TTL of 0; what would take more than a quarter of the room for
 * newcomers (a fortieth of the slab).
 *
 * @param key  what was asked; not guessed from the response
 * @param r    as relayed_read left it; borrowed
 * @return whether it is remembered
 */
bool cache_put(
	struct cache *cache, const struct cache_key *key, const struct relayed *r, int64_t now_ms);

/**
 * Remember that no server answered (RFC 9520). An answer that is there stays, for `stale`.
 *
 * @param rcode     what found.rcode shall say: SERVFAIL, or the error that all had; 1..15
 * @param ede       what found.ede shall say
 * @param until_ms  when to ask again; at most CACHE_FAILURE_MAX_MS from now, and just that where
 *                  an old answer is there to be given meanwhile
 */
void cache_put_failure(struct cache *cache, const struct cache_key *key, uint16_t rcode,
	enum ede ede, int64_t now_ms, int64_t until_ms);

/**
 * Believe no longer that the key's name, or one above it in the zone, does not exist: NXDOMAIN that
 * covers it is forgotten, for all types, DO and CD. cache_put does so itself where it sees that the
 * name exists.
 *
 * @return whether there was one
 */
bool cache_distrust(struct cache *cache, const struct cache_key *key);

/** Forget all there is. @return how many were forgotten. Cost: that of cache_new. */
size_t cache_clear(struct cache *cache);

/**
 * Forget a name.
 *
 * @param name   whose entries, of all types and classes, and the NXDOMAIN that covers it
 * @param below  those of names below it, too
 * @return how many were forgotten
 * Cost: a walk over all entries.
 */
size_t cache_flush(struct cache *cache, const struct dname *name, bool below);

/**
 * What there is for a key, whatever its age: the answer, and that there was none.
 *
 * @return how many of the two: 0..2
 */
unsigned cache_look(const struct cache *cache, const struct cache_key *key, int64_t now_ms,
	struct cache_entry found[2]);

/**
 * The entries of a name.
 *
 * @param[out] found  room for `room` entries
 * @return how many there are, also where there is no room for them
 * Cost: a walk over all entries.
 */
size_t cache_find(const struct cache *cache, const struct dname *name, int64_t now_ms,
	struct cache_entry *found, size_t room);

/** The figures as they are now. */
struct cache_figures cache_figures(const struct cache *cache);

/** Whether everything inside is as it has to be; for tests. Cost: a walk over all entries. */
bool cache_check(const struct cache *cache);
