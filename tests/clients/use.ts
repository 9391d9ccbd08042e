// Types that the generated client must have: this file compiles, or the test fails.
import type { components, paths } from './api';

type Schemas = components['schemas'];

/** Compiles if two types are the same; `unknown` and `any` are the same as no other. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
const isSame = <A, B>(_: Same<A, B>): void => undefined;

isSame<Schemas['TransactionStatus'], 'pending' | 'queued' | 'confirmed' | 'dropped'>(true);
isSame<Schemas['Access'], 'public' | 'protected' | 'disabled'>(true);
isSame<Schemas['Transaction']['confirmations'], number>(true);
isSame<Schemas['Transaction']['amount'], number | undefined>(true);
isSame<Schemas['Problem']['code'], string>(true);

/** The coinbase and transfers are told apart by their type. */
export function amount(transaction: Schemas['BlockTransaction']): number {
  return transaction.type === 'coinbase' ? transaction.reward : transaction.amount;
}

export type ChainResponse = paths['/v1/chain']['get']['responses'][200]['content']['application/json'];
isSame<ChainResponse['height'], number>(true);
