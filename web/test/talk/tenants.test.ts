import { describe, expect, it } from "vitest";
import type { Me } from "../../src/api";
import { OWN_TENANT, tenantsFor } from "../../src/talk/tenants";

const me = (more: Partial<Me>): Me => ({
  id: "ada",
  tenants: [],
  everywhere: true,
  permissions: [],
  version: "1",
  dev: false,
  ...more,
});

describe("whose call it is to begin with", () => {
  it("is the caller's own tenant, whoever else was seen", () => {
    expect(tenantsFor(me({ tenants: ["acme"], everywhere: false, dev: true }), ["globex"])[0]).toBe("acme");
  });

  it("is the tenant whose session is the newest, each named once", () => {
    expect(tenantsFor(me({ dev: true }), ["acme", "globex", "acme", ""])).toEqual([
      "acme",
      "globex",
      OWN_TENANT,
    ]);
  });

  it("is the machine's own in dev mode where nobody called yet, and nobody elsewhere", () => {
    expect(tenantsFor(me({ dev: true }), [])).toEqual([OWN_TENANT]);
    expect(tenantsFor(me({}), [])).toEqual([]);
    expect(tenantsFor(null, ["acme"])).toEqual([]);
  });
});
