// What the bundler makes of an imported style sheet: nothing that code could use.
declare module "*.css";
