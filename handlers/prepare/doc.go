// Package prepare is the kind prepare_order: it splits the lines of an order
// into jobs and says which stages complete each job.
//
// An order is a JSON object whose lines are the array "order_lines":
//
//	{"orderId":"A1","order_lines":[{"sku":"F-1","type":"frame","quantity":2}],"total":10.00}
//
// With per_unit for frames and the stages pick and pack it becomes
//
//	{"orderId":"A1","order_lines":[
//	  {"sku":"F-1","type":"frame","quantity":1,"job_id":"A1-1-1","line_no":1,"job_no":1,"job_count":2,"source_quantity":2,"completion_stages":["pick","pack"]},
//	  {"sku":"F-1","type":"frame","quantity":1,"job_id":"A1-1-2","line_no":1,"job_no":2,"job_count":2,"source_quantity":2,"completion_stages":["pick","pack"]}],"total":10.00}
//
// # Bytes are sacred
//
// Nothing is decoded and encoded again. The order is checked, the range of
// bytes of the value of order_lines is found, and only that range is written
// anew, by the same method: a job is its line's bytes, with the quantity's
// range replaced and members added before the closing brace. Whatever else
// the order holds, spaces and order of members and 2960.10 included, leaves
// as it came. The same order under the same Config gives the same bytes.
//
// # Two steps
//
// Normalise makes jobs of lines, AddStages gives jobs their stages, Prepare
// does both in one pass. A line that is a job already, by its members job_id
// and job_count, is left alone, so that preparing twice changes nothing.
//
// Stage rules see a job as Normalise made it: line.quantity is the job's.
// Rules of both steps see the order as it came in, under the name order.
//
// # Guards
//
// The number of jobs and of bytes that an order would become is known before
// the first of them is built: a quantity of a thousand million costs nothing
// but its refusal. All errors are pipeline.Invalid: the same order would fail
// again.
package prepare
