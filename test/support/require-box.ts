// Set-up of the tests that change the network: they stop here when they would change the machine's own.
import { requireBox } from "../../lab/box.ts";

requireBox();
