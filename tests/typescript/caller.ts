// A caller of the API: correct code compiles, and each marked mistake must not.
import type { components, operations } from "./api";

type Schemas = components["schemas"];
type Booking = Schemas["MeetingRequest"];

const booking = {
  lead_email: "tony.stark@gmail.com",
  title: "Discovery Call with Tony Stark",
  starts_at: "2025-12-29T14:00:00",
  ends_at: "2025-12-29T15:00:00",
  timezone: "America/Santiago",
  location_type: "video",
  status: "confirmed",
} satisfies Booking;

const body: operations["log_meeting"]["requestBody"]["content"]["application/json"] = [booking];

// @ts-expect-error: neither lead_email nor lead_id
const withoutLead: Booking = { title: "x", starts_at: "2026-01-01T10:00", duration_minutes: 30 };

// @ts-expect-error: neither ends_at nor duration_minutes
const withoutEnd: Booking = { lead_email: "a@example.com", title: "x", starts_at: "2026-01-01T10:00" };

// @ts-expect-error: a misspelt field
const misspelt: Booking = { ...booking, start_at: "2026-01-01T10:00" };

// @ts-expect-error: no such location
const unknownLocation: Booking = { ...booking, location_type: "moon" };

const lead: Schemas["LeadRequest"] = { first_name: "Tony", metadata: { utm_source: "ads" } };

type Refusal = operations["get_meeting"]["responses"][404]["content"]["application/json"];

/** The code of an error selects its type. */
export function explain(refusal: Refusal): string {
  switch (refusal.code) {
    case "meeting_not_found":
      return refusal.message;
    case "not_found":
      return "no such path";
    default:
      return refusal satisfies never;
  }
}

type Logged = operations["log_meeting"]["responses"][200]["content"]["application/json"];

/** One meeting, or a result for each of many. */
export function titles(logged: Logged): string[] {
  if ("meeting" in logged) return [logged.meeting.title];
  return logged.results.map((row) => (row.success ? row.meeting.title : row.code));
}

export const all = [body, withoutLead, withoutEnd, misspelt, unknownLocation, lead];
