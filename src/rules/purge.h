/*-------------------------------------------------------------------------
 *
 * purge.h
 *	  What is old enough to go?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_PURGE_H
#define UT_PURGE_H

#include "datatype/timestamp.h"

#include "base/token.h"

/*
 * Delete the tokens that have been expired, or the events that happened, at
 * least that long ago; returns how many.  Error 22023 for an age below zero or
 * above 1000 years.
 */
extern int64 ut_purge_expired(const Interval *age, const UtActor *actor);
extern int64 ut_purge_events(const Interval *age);

#endif							/* UT_PURGE_H */
