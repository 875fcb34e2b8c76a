import { Analytics } from '@segment/analytics-node'
import { AT, KEY, STORY, URL_ } from './story.mjs'

const analytics = new Analytics({ writeKey: KEY, host: URL_ })
analytics.on('error', (error) => { console.error(error); process.exitCode = 1 })
const timestamp = AT
const userId = '42'
const messageId = 'segment-node-order'
analytics.page({ anonymousId: 'v-1', properties: STORY.page, timestamp })
analytics.identify({ userId, anonymousId: 'v-1', traits: STORY.traits, timestamp })
analytics.track({ userId, event: 'Order Completed', properties: STORY.order, timestamp, messageId })
analytics.track({ userId, event: 'Product Reviewed', properties: STORY.review, timestamp })
analytics.track({ userId, event: 'Wish List Shared', properties: STORY.wish, timestamp })
analytics.track({ userId, event: 'Order Completed', properties: STORY.order_without_currency, timestamp })
await analytics.closeAndFlush()
console.log(JSON.stringify({ order: messageId }))
