/*-------------------------------------------------------------------------
 *
 * text/strength.c
 *	  How hard is a secret to guess?
 *
 * Plain C, fuzzed alone.  It is no cracker: it tells secrets of a generator
 * from those of a person, so that the latter are named and replaced.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "text/strength.h"

#define WORD_MIN 4				/* letters; shorter runs come about by chance */
#define WORD_RUN 4				/* so many consonants, or vowels, in a row are
								 * in no word */
#define WORD_BITS 2.6			/* a letter: 12.9 bits for a word of a list of
								 * 7,776 with 5 letters */
#define STEP_BITS 1.0			/* a character that goes on as those before */

/* What stands before the selector is no chance: scope and environment. */
static size_t
key_start(const char *secret, size_t len)
{
	while (len > 0 && secret[len - 1] != '.')
		len--;
	return len;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool
is_letter(char c)
{
	return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool
is_vowel(char c)
{
	return lower(c) != '\0' && strchr("aeiouy", lower(c)) != NULL;
}

/* Characters to choose from, by the kinds that occur. */
static int
alphabet_size(const char *key, size_t len)
{
	bool		digit = false,
				hex = false,
				small = false,
				capital = false,
				other = false;

	for (size_t i = 0; i < len; i++)
	{
		digit |= key[i] >= '0' && key[i] <= '9';
		hex |= key[i] >= 'a' && key[i] <= 'f';
		small |= key[i] >= 'g' && key[i] <= 'z';
		capital |= key[i] >= 'A' && key[i] <= 'Z';
		other |= !is_letter(key[i]) && !(key[i] >= '0' && key[i] <= '9');
	}
	return (digit ? 10 : 0) + (small ? 26 : hex ? 6 : 0) + (capital ? 26 : 0) + (other ? 2 : 0);
}

/* The length of what is repeated to make the whole; len when nothing is. */
static size_t
period(const char *key, size_t len)
{
	for (size_t p = 1; p <= len / 2; p++)
	{
		if (memcmp(key, key + p, len - p) == 0)
			return p;
	}
	return len;
}

/*
 * The length of the word at the front, 0 for none: letters of which at most the
 * first is a capital, with vowels and consonants in turns as in speech.  Letters
 * by chance have four consonants in a row before long.
 */
static size_t
word_length(const char *text, size_t len)
{
	size_t		n = 0;
	size_t		same = 0;

	while (n < len && is_letter(text[n]) && (n == 0 || lower(text[n]) == text[n]))
	{
		same = n > 0 && is_vowel(text[n]) == is_vowel(text[n - 1]) ? same + 1 : 1;
		if (same >= WORD_RUN)
			return 0;
		n++;
	}
	return n >= WORD_MIN ? n : 0;
}

/* Does a character go on as the two before it: the same, the next or the one before? */
static bool
is_step(const char *key, size_t i)
{
	int			step = i < 2 ? 2 : key[i] - key[i - 1];

	return step >= -1 && step <= 1 && key[i - 1] - key[i - 2] == step;
}

/*
 * Are at least five eighths of it words?  Runs of letters that look like words come about
 * by chance too, but never cover so much.
 */
static bool
is_of_words(const char *key, size_t len)
{
	size_t		covered = 0;
	size_t		i = 0;

	while (i < len)
	{
		size_t		word = word_length(key + i, len - i);

		covered += word;
		i += word > 0 ? word : 1;
		/* the end of a run of letters is no word of its own */
		while (word == 0 && i < len && is_letter(key[i - 1]) && is_letter(key[i]) && lower(key[i]) == key[i])
			i++;
	}
	return covered * 8 >= len * 5;
}

/* What a guesser who knows the characters before it still has to try. */
static double
character_bits(const char *key, size_t i, double each, bool of_words)
{
	if (is_step(key, i))
		return fmin(each, STEP_BITS);
	if (of_words && is_letter(key[i]))
		return fmin(each, WORD_BITS);
	if (of_words && !(key[i] >= '0' && key[i] <= '9'))
		return fmin(each, STEP_BITS);
	return each;
}

double
ut_strength_bits(const char *secret, size_t len)
{
	size_t		start = key_start(secret, len);
	const char *key = secret + start;
	size_t		all = len - start;
	size_t		n = period(key, all);
	double		each = all == 0 ? 0 : log2(alphabet_size(key, n));
	double		bits = n == all ? 0 : log2((double) all / (double) n);
	bool		of_words = is_of_words(key, n);

	if (ut_strength_is_published(secret, len))
		return 0;
	for (size_t i = 0; i < n; i++)
		bits += character_bits(key, i, each, of_words);
	return bits;
}

/*
 * unleash-insecure-api-token, -admin-api-token, -client-api-token and
 * -frontend-api-token are what Unleash's compose files and its guides start
 * with, under any scope; whoever changes one keeps the front.
 */
bool
ut_strength_is_published(const char *secret, size_t len)
{
	static const char front[] = "unleash-insecure-";
	size_t		start = key_start(secret, len);

	if (len - start < sizeof(front) - 1)
		return false;
	for (size_t i = 0; i < sizeof(front) - 1; i++)
	{
		if (lower(secret[start + i]) != front[i])
			return false;
	}
	return true;
}
