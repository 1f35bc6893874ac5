/* SPDX-License-Identifier: Apache-2.0
 *
 * How often long work gave way. To be linked with --wrap=give_way.
 */
#pragma once

static unsigned ways;

void __wrap_give_way(void);
void __wrap_give_way(void)
{
	ways++;
}
