/*
 * Stands before OpenSSL's source of random bytes, for t/150_faults.pl: the file
 * named by CONTROL says how it fails.  No file: it does not.
 *
 * Built with -shared -fPIC -DCONTROL='"..."', loaded by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int			RAND_bytes(unsigned char *buf, int len);

int
RAND_bytes(unsigned char *buf, int len)
{
	static int (*real) (unsigned char *, int);
	static int	calls = 0;
	FILE	   *file = fopen(CONTROL, "r");
	char		mode = 0;

	if (file != NULL)
	{
		mode = (char) getc(file);
		fclose(file);
	}
	switch (mode)
	{
		case 'f':				/* fails, having written something */
			memset(buf, 0x41, len);
			return 0;
		case 'h':				/* is stuck high and says all is well */
			memset(buf, 0xff, len);
			return 1;
		case 'l':				/* is stuck low */
			memset(buf, 0, len);
			return 1;
		case 't':				/* fails every third time */
			if (++calls % 3 == 0)
				return 0;
			break;
	}
	if (real == NULL)
		real = (int (*) (unsigned char *, int)) dlsym(RTLD_NEXT, "RAND_bytes");
	return real(buf, len);
}
