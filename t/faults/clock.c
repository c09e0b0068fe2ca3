/*
 * Stands before the time of day, for t/180_rate.pl: it is off by as many
 * seconds as the file named by CONTROL says.  The monotonic clock goes on.
 *
 * Built with -shared -fPIC -DCONTROL='"..."', loaded by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
read_step(void)
{
	FILE	   *file = fopen(CONTROL, "r");
	long		step = 0;

	if (file != NULL)
	{
		if (fscanf(file, "%ld", &step) != 1)
			step = 0;
		fclose(file);
	}
	return step;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += read_step();
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}
