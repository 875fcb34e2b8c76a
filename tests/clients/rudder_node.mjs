import RudderAnalytics from '@rudderstack/rudder-sdk-node'
import { AT, KEY, STORY, URL_ } from './story.mjs'

const analytics = new RudderAnalytics(KEY, { dataPlaneUrl: URL_ })
const originalTimestamp = AT
const userId = '42'
analytics.page({ anonymousId: 'v-1', properties: STORY.page, originalTimestamp })
analytics.identify({ userId, anonymousId: 'v-1', traits: STORY.traits, originalTimestamp })
analytics.track({ userId, event: 'Order Completed', properties: STORY.order, originalTimestamp })
analytics.track({ userId, event: 'Product Reviewed', properties: STORY.review, originalTimestamp })
analytics.track({ userId, event: 'Wish List Shared', properties: STORY.wish, originalTimestamp })
analytics.track({ userId, event: 'Order Completed', properties: STORY.order_without_currency, originalTimestamp })
await analytics.flush()
console.log(JSON.stringify({}))
process.exit()
