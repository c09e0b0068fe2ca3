/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  How is one of many requests answered that come in one call?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_LANE_H
#define UT_LANE_H

/* What a request of the program authd brings, each as its bytes in UTF-8. */
typedef enum UtLaneField
{
	UT_LANE_METHOD,				/* needed */
	UT_LANE_TARGET,				/* needed: path and query, as sent */
	UT_LANE_KEY,				/* Authorization without "Bearer" */
	UT_LANE_ADDRESS,			/* of the client, as text */
	UT_LANE_TYPE,				/* Content-Type */
	UT_LANE_ENCODING,			/* Content-Encoding */
	UT_LANE_BODY,
	UT_LANE_FIELDS
} UtLaneField;

typedef struct UtLaneReply
{
	int			status;
	char	   *headers;		/* lines "Name: value", in ASCII */
	bytea	   *body;
} UtLaneReply;

/*
 * Answer it by the router of the REST door, READ ONLY and in a subtransaction of
 * its own.  Fields that it does not have are NULL.  False: it ended in an error,
 * which is in the server's log, and the others go on; what cancels the whole
 * call is raised.  What is returned lies in the memory context of the caller.
 */
extern bool ut_lane_answer(bytea *const *fields, UtLaneReply *reply);

#endif							/* UT_LANE_H */
