// Our requests against what the vendors' whole clients sent: @alicloud/pop-core 1.8.0 and tencentcloud-sdk-nodejs-common 4.1.220.
import { expect, test } from "vitest";
import { signedAliForm } from "./ali/ali-signature.ts";
import { signedTencentHeaders } from "./tencent/tencent-signature.ts";

test("Alibaba Cloud's RPC signature", () => {
  const parameters = {
    Action: "CreateRouteEntry",
    Version: "2016-04-28",
    RegionId: "cn-hangzhou",
    RouteTableId: "vtb-1",
    DestinationCidrBlock: "10.5.3.0/24",
    Description: "a b*c~d!(e)'",
  };
  const key = { id: "LTAIexample", secret: "exampleSecret/+=", token: "tok/en+=" };
  const moment = { nonce: "cecb974b5c0c777ed0aacb157dcc0b7a", timestamp: "2026-11-30T12:29:23Z" };
  const form = new URLSearchParams(signedAliForm(parameters, key, moment));
  expect(form.get("Signature")).toBe("W8ok1YQ1NlA+QJ5X8tIDtUWPTak=");
  expect(Object.fromEntries(form)).toMatchObject({ ...parameters, SecurityToken: key.token });
});

test("Tencent Cloud's TC3 signature", () => {
  const request = {
    ...{ url: "http://127.0.0.1:8080/", service: "127", action: "DescribeRouteTables", version: "2017-03-12" },
    ...{ region: "ap-guangzhou", body: '{"Filters":[{"Name":"vpc-id","Values":["vpc-1"]}],"Limit":"100"}' },
  };
  const key = { id: "AKIDexample", secret: "exampleKey/+=", token: "tok" };
  expect(signedTencentHeaders(request, key, 1_796_041_763_000)).toMatchObject({
    authorization:
      "TC3-HMAC-SHA256 Credential=AKIDexample/2026-11-30/127/tc3_request, SignedHeaders=content-type;host, " +
      "Signature=283084577b47914634533330ff4c1e87230cbad154af90880bd976b20e9dfa54",
    "x-tc-token": "tok",
  });
});
