/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/cookie.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* SipHash-2-4 of 0, 1, … 63 octets 00 01 02 …, key 00 01 … 0f: the vectors of its authors. */
static const uint64_t siphash_vectors[64] = {
	0x726fdb47dd0e0e31,
	0x74f839c593dc67fd,
	0x0d6c8009d9a94f5a,
	0x85676696d7fb7e2d,
	0xcf2794e0277187b7,
	0x18765564cd99a68d,
	0xcbc9466e58fee3ce,
	0xab0200f58b01d137,
	0x93f5f5799a932462,
	0x9e0082df0ba9e4b0,
	0x7a5dbbc594ddb9f3,
	0xf4b32f46226bada7,
	0x751e8fbc860ee5fb,
	0x14ea5627c0843d90,
	0xf723ca908e7af2ee,
	0xa129ca6149be45e5,
	0x3f2acc7f57c29bdb,
	0x699ae9f52cbe4794,
	0x4bc1b3f0968dd39c,
	0xbb6dc91da77961bd,
	0xbed65cf21aa2ee98,
	0xd0f2cbb02e3b67c7,
	0x93536795e3a33e88,
	0xa80c038ccd5ccec8,
	0xb8ad50c6f649af94,
	0xbce192de8a85b8ea,
	0x17d835b85bbb15f3,
	0x2f2e6163076bcfad,
	0xde4daaaca71dc9a5,
	0xa6a2506687956571,
	0xad87a3535c49ef28,
	0x32d892fad841c342,
	0x7127512f72f27cce,
	0xa7f32346f95978e3,
	0x12e0b01abb051238,
	0x15e034d40fa197ae,
	0x314dffbe0815a3b4,
	0x027990f029623981,
	0xcadcd4e59ef40c4d,
	0x9abfd8766a33735c,
	0x0e3ea96b5304a7d0,
	0xad0c42d6fc585992,
	0x187306c89bc215a9,
	0xd4a60abcf3792b95,
	0xf935451de4f21df2,
	0xa9538f0419755787,
	0xdb9acddff56ca510,
	0xd06c98cd5c0975eb,
	0xe612a3cb9ecba951,
	0xc766e62cfcadaf96,
	0xee64435a9752fe72,
	0xa192d576b245165a,
	0x0a8787bf8ecb74b2,
	0x81b3e73d20b49b6f,
	0x7fa8220ba3b2ecea,
	0x245731c13ca42499,
	0xb78dbfaf3a8d83bd,
	0xea1ad565322a1a0b,
	0x60e61c23a3795013,
	0x6606d7e446282b93,
	0x6ca4ecb15c5f91e1,
	0x9f626da15c9625f3,
	0xe51b38608ef25f57,
	0x958a324ceb064572,
};

static void siphash_gives_the_published_values(void **state)
{
	(void)state;
	uint8_t key[16];
	for (uint8_t i = 0; i < sizeof(key); i++) {
		key[i] = i;
	}
	for (size_t len = 0; len < COUNT(siphash_vectors); len++) {
		/* an allocation of just that size: nothing beyond it is read */
		uint8_t *message = malloc(len + 1);
		assert_non_null(message);
		for (size_t i = 0; i < len; i++) {
			message[i + 1] = (uint8_t)i;
		}
		uint64_t hash = cookie_siphash(key, (struct span){message + 1, len});
		free(message);
		assert_true(hash == siphash_vectors[len]);
	}
}

static void octets_of(uint8_t *octets, size_t len, const char *hex)
{
	assert_int_equal(strlen(hex), 2 * len);
	for (size_t i = 0; i < len; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
		octets[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
}

static struct cookie_secret secret_of(const char *hex)
{
	struct cookie_secret secret;
	octets_of(secret.octets, sizeof(secret.octets), hex);
	return secret;
}

static struct span cookie_of(uint8_t octets[COOKIE_LEN], const char *hex)
{
	octets_of(octets, COOKIE_LEN, hex);
	return (struct span){octets, COOKIE_LEN};
}

static const struct address client_1 = {.len = 4, .octets = {198, 51, 100, 100}};
static const struct address client_2 = {.len = 4, .octets = {203, 0, 113, 203}};
static const struct address client_3 = {.len = 16,
	.octets = {0x20, 0x01, 0x0d, 0xb8, 0x02, 0x20, 0x00, 0x01, 0x59, 0xde, 0xd0, 0xf4, 0x87,
		0x69, 0x82, 0xb8}};
static const char secret_1[] = "e5e973e5a6b2a43f48e7dc849e37bfcf";
static const char secret_old[] = "dd3bdf9344b678b185a6f5cb60fca715";
static const char secret_new[] = "445536bcd2513298075a5d379663c962";

/* RFC 9018 Appendix A: what the servers there answer. */
static const struct {
	const char *section;
	const char *secret;
	const struct address *peer;
	uint32_t now;
	const char *answer;
} vectors[] = {
	{"A.1", secret_1, &client_1, 1559731985,
		"2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
	{"A.2", secret_1, &client_1, 1559734385,
		"2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
	{"A.3", secret_1, &client_2, 1559734700,
		"fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
	{"A.4", secret_new, &client_3, 1559741961,
		"22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
};

static void cookies_are_those_of_rfc_9018(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		uint8_t expected[COOKIE_LEN];
		uint8_t made[COOKIE_LEN];
		struct cookie_secret secret = secret_of(vectors[i].secret);
		(void)cookie_of(expected, vectors[i].answer);
		cookie_make(made, &secret, expected, vectors[i].peer, vectors[i].now);
		if (memcmp(made, expected, COOKIE_LEN) != 0) {
			fail_msg("%s", vectors[i].section);
		}
		struct span cookie = {made, COOKIE_LEN};
		assert_int_equal(cookie_check(&secret, cookie, vectors[i].peer, vectors[i].now),
			COOKIE_VALID);
	}
}

/* RFC 9018 A.1: a client's cookie alone */
static void client_cookie_alone_gets_a_new_one(void **state)
{
	(void)state;
	uint8_t expected[COOKIE_LEN];
	uint8_t answer[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	(void)cookie_of(expected, vectors[0].answer);
	struct span cookie = {expected, COOKIE_CLIENT_LEN};
	assert_int_equal(
		cookie_answer(answer, &secret, cookie, &client_1, 1559731985), COOKIE_INVALID);
	assert_memory_equal(answer, expected, COOKIE_LEN);
}

/* RFC 9018 A.2: forty minutes later */
static void ageing_cookie_is_replaced(void **state)
{
	(void)state;
	uint8_t learned[COOKIE_LEN];
	uint8_t expected[COOKIE_LEN];
	uint8_t answer[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	struct span cookie = cookie_of(learned, vectors[0].answer);
	(void)cookie_of(expected, vectors[1].answer);
	assert_int_equal(
		cookie_answer(answer, &secret, cookie, &client_1, 1559734385), COOKIE_AGEING);
	assert_memory_equal(answer, expected, COOKIE_LEN);
}

/* RFC 9018 A.3: reserved octets are part of the hash, and zero in ours */
static void reserved_octets_are_hashed_as_they_came(void **state)
{
	(void)state;
	uint8_t learned[COOKIE_LEN];
	uint8_t expected[COOKIE_LEN];
	uint8_t answer[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	struct span cookie = cookie_of(learned, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
	(void)cookie_of(expected, vectors[2].answer);
	assert_int_equal(cookie_check(&secret, cookie, &client_2, 1559727985), COOKIE_VALID);
	assert_int_equal(
		cookie_check(&secret, cookie, &client_2, 1559727985 + 3600), COOKIE_AGEING);
	/* the example's server answers almost two hours later */
	(void)cookie_answer(answer, &secret, cookie, &client_2, 1559734700);
	assert_memory_equal(answer, expected, COOKIE_LEN);
	learned[9] ^= 1;
	assert_int_equal(cookie_check(&secret, cookie, &client_2, 1559727985), COOKIE_INVALID);
}

/* RFC 9018 A.4 and §5 */
static void cookie_of_the_old_secret_is_known_by_the_old_secret(void **state)
{
	(void)state;
	uint8_t learned[COOKIE_LEN];
	struct cookie_secret old = secret_of(secret_old);
	struct cookie_secret new = secret_of(secret_new);
	struct span cookie = cookie_of(learned, "22681ab97d52c298010000005cf7c57926556bd0934c72f8");
	assert_int_equal(cookie_check(&old, cookie, &client_3, 1559741961), COOKIE_VALID);
	assert_int_equal(cookie_check(&new, cookie, &client_3, 1559741961), COOKIE_INVALID);
}

/* RFC 9018 §4.3: one hour back, five minutes ahead; half an hour and it is renewed */
static void cookie_is_good_for_an_hour(void **state)
{
	(void)state;
	static const struct {
		int32_t age;
		enum cookie_state state;
	} ages[] = {{-301, COOKIE_INVALID}, {-300, COOKIE_VALID}, {0, COOKIE_VALID},
		{1800, COOKIE_VALID}, {1801, COOKIE_AGEING}, {3600, COOKIE_AGEING},
		{3601, COOKIE_INVALID}, {INT32_MAX, COOKIE_INVALID}, {INT32_MIN, COOKIE_INVALID}};
	/* also where the seconds begin again at 0, in 2106 */
	static const uint32_t times[] = {1559731985, 0, 1000, UINT32_MAX, UINT32_MAX - 1000};
	struct cookie_secret secret = secret_of(secret_1);
	for (size_t t = 0; t < COUNT(times); t++) {
		uint8_t made[COOKIE_LEN];
		struct span cookie = {made, COOKIE_LEN};
		cookie_make(made, &secret, (const uint8_t *)"clientck", &client_1, times[t]);
		for (size_t i = 0; i < COUNT(ages); i++) {
			uint32_t now = times[t] + (uint32_t)ages[i].age;
			assert_int_equal(
				cookie_check(&secret, cookie, &client_1, now), ages[i].state);
		}
	}
}

static void valid_cookie_is_echoed(void **state)
{
	(void)state;
	uint8_t made[COOKIE_LEN];
	uint8_t answer[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	cookie_make(made, &secret, (const uint8_t *)"clientck", &client_3, 1000);
	struct span cookie = {made, COOKIE_LEN};
	assert_int_equal(cookie_answer(answer, &secret, cookie, &client_3, 1100), COOKIE_VALID);
	assert_memory_equal(answer, made, COOKIE_LEN);
}

static void cookie_is_bound_to_everything_in_it(void **state)
{
	(void)state;
	uint8_t made[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	cookie_make(made, &secret, (const uint8_t *)"clientck", &client_1, 1000);
	struct span cookie = {made, COOKIE_LEN};
	for (unsigned bit = 0; bit < 8 * COOKIE_LEN; bit++) {
		made[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(cookie_check(&secret, cookie, &client_1, 1000), COOKIE_INVALID);
		made[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_int_equal(cookie_check(&secret, cookie, &client_1, 1000), COOKIE_VALID);
	assert_int_equal(cookie_check(&secret, cookie, &client_2, 1000), COOKIE_INVALID);
	assert_int_equal(cookie_check(&secret, cookie, &client_3, 1000), COOKIE_INVALID);
}

/* RFC 7873 §4.2: a server cookie of 8 to 32 octets may be another server's */
static void cookie_of_another_length_is_not_ours(void **state)
{
	(void)state;
	uint8_t octets[40] = {0};
	uint8_t answer[COOKIE_LEN];
	struct cookie_secret secret = secret_of(secret_1);
	cookie_make(octets, &secret, (const uint8_t *)"clientck", &client_1, 1000);
	for (size_t len = 16; len <= sizeof(octets); len++) {
		struct span cookie = {octets, len};
		assert_int_equal(cookie_answer(answer, &secret, cookie, &client_1, 1000),
			len == COOKIE_LEN ? COOKIE_VALID : COOKIE_INVALID);
		assert_memory_equal(answer, octets, COOKIE_LEN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_gives_the_published_values),
		cmocka_unit_test(cookies_are_those_of_rfc_9018),
		cmocka_unit_test(client_cookie_alone_gets_a_new_one),
		cmocka_unit_test(ageing_cookie_is_replaced),
		cmocka_unit_test(reserved_octets_are_hashed_as_they_came),
		cmocka_unit_test(cookie_of_the_old_secret_is_known_by_the_old_secret),
		cmocka_unit_test(cookie_is_good_for_an_hour),
		cmocka_unit_test(valid_cookie_is_echoed),
		cmocka_unit_test(cookie_is_bound_to_everything_in_it),
		cmocka_unit_test(cookie_of_another_length_is_not_ours),
	};
	return cmocka_run_group_tests_name("cookie", tests, NULL, NULL);
}
