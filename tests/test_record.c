/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/record.h"

#include <errno.h>

static const uint8_t a_record[] = {
	3, 'w', 'e', 'b', 0, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 241, 0, 0, 1};

static void record_is_read_to_its_last_octet(void **state)
{
	(void)state;
	struct reader r = reader_over((struct span){a_record, sizeof(a_record)});
	struct record record;
	assert_int_equal(record_read(&record, &r), 0);
	assert_int_equal(record.at, 0);
	assert_int_equal(record.type, TYPE_A);
	assert_int_equal(record.class, CLASS_IN);
	assert_int_equal(record.ttl, 30);
	assert_false(record.root);
	assert_int_equal(record.rdata.len, 4);
	assert_memory_equal(record.rdata.data, "\xf1\0\0\1", 4);
	assert_int_equal(r.at, sizeof(a_record));
}

static void record_cut_anywhere_is_refused(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof(a_record); len++) {
		struct reader r = reader_over((struct span){a_record, len});
		struct record record;
		assert_int_equal(record_read(&record, &r), -EBADMSG);
	}
}

static void root_owner_is_seen(void **state)
{
	(void)state;
	const uint8_t opt[] = {0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0};
	struct reader r = reader_over((struct span){opt, sizeof(opt)});
	struct record record;
	assert_int_equal(record_read(&record, &r), 0);
	assert_true(record.root);
	assert_int_equal(record.ttl, EDNS_DO);
	assert_int_equal(record.class, 1232);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_is_read_to_its_last_octet),
		cmocka_unit_test(record_cut_anywhere_is_refused),
		cmocka_unit_test(root_owner_is_seen),
	};
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
