/** Codes of one slot, moved and scaled several at once: byte for byte what one at a time gives, of all slots and forms. */
import * as assert from "uvu/assert";
import { KvForm, Part, Size } from "../../assembly/memory/status.ts";
import { checkedSuite, Instance } from "../kernel/instance.ts";
import { draws } from "../kernel/values.ts";

const instance = new Instance(1 << 20);
const test = checkedSuite("codes of a slot", instance);
const { copyCodes, copyCodesRef, scaleCodes, scaleCodesRef } = instance.exports;

const FORMS = [KvForm.Q8, KvForm.Q4, KvForm.Q3, KvForm.Q8_PLANES] as const;
const PARTS = [Part.KEYS, Part.VALUES] as const;
const DIMS = [8, 20, 64, 80];

/** Pages of random codes, whose padding is zero as in any page: [form, part, dim, bytes]. */
function* pages() {
  const draw = draws(5);
  for (const form of FORMS) {
    for (const part of PARTS) {
      if (form === KvForm.Q8_PLANES && part === Part.VALUES) continue; // only keys have planes
      for (const dim of DIMS) {
        const bytes = Math.ceil(dim / 16) * 16 * Size.PAGE_SLOTS;
        const random = instance.input(Uint8Array.from({ length: bytes }, () => Math.floor(draw() * 256)));
        const page = instance.output(bytes);
        page.u8.fill(0);
        for (let slot = 0; slot < Size.PAGE_SLOTS; ++slot) {
          copyCodesRef(page.address, slot, random.address, slot, form, part, dim);
        }
        yield { form, part, dim, page, what: `form ${form}, part ${part}, ${dim} dims` };
        instance.reset();
      }
    }
  }
}

test("they move to any slot of another page, beside what is there", () => {
  for (const { form, part, dim, page, what } of pages()) {
    const [actual, expected] = [instance.output(page.nBytes), instance.output(page.nBytes)];
    for (const step of [1, 7, 31]) {
      actual.u8.fill(0);
      expected.u8.fill(0);
      for (let slot = 0; slot < Size.PAGE_SLOTS; ++slot) {
        const to = (slot * step + 3) % Size.PAGE_SLOTS;
        copyCodes(actual.address, to, page.address, slot, form, part, dim);
        copyCodesRef(expected.address, to, page.address, slot, form, part, dim);
        assert.is(Buffer.compare(actual.u8, expected.u8), 0, `${what}, slot ${slot} to ${to}`);
      }
    }
  }
});

test("they are scaled, a group or what is left of one", () => {
  for (const { form, part, dim, page, what } of pages()) {
    for (let first = 0; first < dim; first += 32) {
      const end = Math.min(dim, first + 32);
      const [actual, expected] = [instance.output(4 * (end - first)), instance.output(4 * (end - first))];
      for (let slot = 0; slot < Size.PAGE_SLOTS; ++slot) {
        const terms = [slot, first, end, dim, 0.037 * (slot + 1), slot % 2 ? -1.3 : 0] as const;
        scaleCodes(actual.address, page.address, form, part, ...terms);
        scaleCodesRef(expected.address, page.address, form, part, ...terms);
        assert.is(Buffer.compare(actual.u8, expected.u8), 0, `${what}, slot ${slot}, from dim ${first}`);
      }
    }
  }
});

test.run();
