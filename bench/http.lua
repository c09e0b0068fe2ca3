-- For wrk: one kind of request, and the figures in one line of JSON.  What to send is in the environment, since arguments can be
-- seen by all: METHOD, TARGET, KEY, BODY ("@" becomes a number), STATUS, PAUSE (milliseconds), and SMALL when each
-- answer's status is to be looked at.
local method, target = os.getenv("METHOD"), os.getenv("TARGET")
local key, body, status = os.getenv("KEY"), os.getenv("BODY"), tonumber(os.getenv("STATUS"))
local headers = {}
if key then headers["Authorization"] = key end
if body then headers["Content-Type"] = "application/json" end

number, wrong = 0, 0

function request()
	number = number + 1
	return wrk.format(method, target, headers, body and (body:gsub("@", tostring(number))))
end

-- milliseconds between two requests of a connection, in the middle
local pause = tonumber(os.getenv("PAUSE") or "")
if pause then
	function delay()
		return math.floor(pause * 2 * math.random() + 0.5)
	end
end

-- wrk itself counts those of 400 and more only
if os.getenv("SMALL") then
	function response(got)
		if got ~= status then wrong = wrong + 1 end
	end
end

local threads = {}
function setup(thread) table.insert(threads, thread) end

function done(summary, latency)
	local errors, others = summary.errors, 0
	for _, thread in ipairs(threads) do others = others + thread:get("wrong") end
	io.write(string.format('{"requests":%d,"seconds":%.6f,"bytes":%d,"refused":%d,"wrong":%d,"broken":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
		summary.requests, summary.duration / 1e6, summary.bytes, errors.status, others,
		errors.connect + errors.read + errors.write + errors.timeout,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
