/** Whatever goes wrong is one error with a code: GraphQL's, REST's, and what neither of them said. */
import { expect, test } from "vitest";
import { ApiError, faultFrom, faultOf } from "../../src/api/fault";

test("the first of GraphQL's errors is taken, with the code of its extensions", () => {
  const body = {
    data: null,
    errors: [{ message: "no", extensions: { code: "permission_denied", retry_after_ms: 20 } }],
  };
  const fault = faultFrom(body, 200);
  expect([fault.code, fault.message, fault.retryAfterMs]).toEqual(["permission_denied", "no", 20]);
  expect(fault.refused).toBe(true);
  expect(fault.remedy).not.toBe("");
});

test("a fault of REST is taken as it is", () => {
  const fault = faultFrom({ code: "store_unavailable", message: "the store does not answer" }, 503);
  expect([fault.code, fault.message, fault.status]).toEqual([
    "store_unavailable",
    "the store does not answer",
    503,
  ]);
  expect(fault.refused).toBe(false);
});

test.each([null, "", 7, [], { errors: [] }, { errors: [null] }, { error: null }, { message: 3 }])(
  "a body that says nothing, %j, still is an error with a code",
  (body) => {
    expect(faultFrom(body, 502).code).toBe("http_502");
    expect(faultFrom(body, 401).aboutToken).toBe(true);
  },
);

test("a network that is not there is told apart from a page that is broken", () => {
  expect(faultOf(new TypeError("Failed to fetch")).code).toBe("unreachable");
  expect(faultOf(new DOMException("late", "TimeoutError")).code).toBe("timeout");
  expect(faultOf(new Error("oh")).code).toBe("page_error");
  const known = new ApiError("a", "b");
  expect(faultOf(known)).toBe(known);
});
