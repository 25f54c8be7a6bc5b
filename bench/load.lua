-- What wrk sends. Arguments behind "--": post KEY LEADS RUN | replay KEY LEADS RUN | list KEY PATH
--   post    a booking of a lead at random, under an external id never sent before
--   replay  one of the bookings replay-0 … replay-(LEADS - 1), which are stored already
--   list    a GET of PATH

local what, leads, run, path
local sent = 0

local booking = [[{
 "lead_email": "lead%d@example.com", "title": "Discovery Call with Tony Stark", "starts_at": "2025-12-29T14:00:00",
 "ends_at": "2025-12-29T15:00:00", "timezone": "America/Santiago", "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
 "location_type": "video", "description": "Confirmation and reminder emails", "attendee_name": "Tony Stark",
 "external_calendar_provider": "ghl", "external_event_id": "%s", "status": "confirmed"}]]

function init(args)
  what = args[1]
  wrk.headers["X-API-Key"] = args[2]
  wrk.headers["Content-Type"] = "application/json"
  if what == "list" then path = args[3] else leads, run = tonumber(args[3]), args[4] end
  math.randomseed(1)
end

function request()
  if what == "list" then return wrk.format("GET", path) end
  local lead = math.random(0, leads - 1)
  sent = sent + 1
  local event = what == "replay" and "replay-" .. lead or run .. "-" .. sent
  return wrk.format("POST", "/api/public/meetings", nil, string.format(booking, lead, event))
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'result {"requests": %d, "seconds": %.3f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
